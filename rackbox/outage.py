"""What a probe felt: outage windows, failed and slow requests, and how exactly that can be known. Pure.

A probe's attempts start on a fixed schedule, whether or not earlier ones have been answered (open loop), so that a
slow system is not asked less often. An attempt is *good* if it was answered, and answered right, within the probe's
timeout. An outage window runs from the start of a not-good attempt to when somebody is known to have served again.

A *stalled* attempt is as bad: one that was answered only after the outage, because a kernel on the way kept it (Linux
queues packets while it resolves an address anew, arp(7)), and not because somebody served it. Without that, the same
outage would be long or short by the luck of the client's ARP table. An answer shows that somebody served within the
last *flight* of it, the time that an attempt normally takes. So an attempt stalled if it waited, and if nobody else was
answered meanwhile either: where answers keep coming in, the service is slow and not away. A window is a run of attempts
that failed or stalled, if one of them failed or if the window is longer than a stall, and ends when somebody served.

Resolution: the true window begins somewhere between the last good and the first failed attempt, and ends between the
last failed one and the next that was served, so a reported length is right within ± the gap between attempts at its
edges, plus the time for which an attempt is normally under way (one that started just before the fault fails too), or
was right after the outage, if that is longer: all that was kept may have come at once, and somebody has to work it off.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rackbox.history import Attempt

SLOW_SECONDS = 0.1
BASELINE_SECONDS = 1.0
STARVED_INTERVALS = 5
STALL_FACTOR = 3
STALL_INTERVALS = 3.5
"""An answer that took ``STALL_FACTOR`` times longer than the slow ones of the calm before (p95), and longer than that
many intervals, was a stall. A wait that is shorter cannot be told from a busy computer."""


@dataclass(frozen=True, slots=True)
class Window:
    """A run of attempts that failed or stalled. ``end`` is None when nobody served any more; ``last`` is the start of
    the last attempt in it, so ``seconds`` is then a lower bound. ``failed`` counts those that failed. ``gap`` is the
    wider of the two gaps at its edges; ``flight`` is how long the first good attempt begun after it took."""

    start: float
    end: float | None
    last: float
    failed: int
    gap: float
    flight: float = 0.0

    @property
    def closed(self) -> bool:
        return self.end is not None

    @property
    def seconds(self) -> float:
        return (self.last if self.end is None else self.end) - self.start


@dataclass(frozen=True, slots=True)
class Outage:
    """What one probe measured from the injection on.

    ``main`` is the longest window that began before ``healed``, when the fault was taken back: what comes after has
    another cause, such as a machine that boots. ``later`` are those that began after it (a second outage); ``longest``
    is the longest of all. ``disturbed`` is the whole span in which requests failed *or* were slow. ``resolution`` is
    the ± of ``seconds``. All in seconds.
    """

    windows: tuple[Window, ...]
    attempts: int
    failed: int
    slow: int
    disturbed: float
    resolution: float
    healed: float = math.inf

    @property
    def main(self) -> Window | None:
        early = [window for window in self.windows if window.start < self.healed]
        return max(early, key=lambda window: (window.seconds, -window.start), default=None)

    @property
    def later(self) -> tuple[Window, ...]:
        main = self.main
        return self.windows if main is None else tuple(window for window in self.windows if window.start > main.start)

    @property
    def seconds(self) -> float:
        return self.main.seconds if self.main else 0.0

    @property
    def longest(self) -> float:
        return max((window.seconds for window in self.windows), default=0.0)

    @property
    def recovered(self) -> bool:
        return all(window.closed for window in self.windows)


def measure_outage(
    attempts: Sequence[Attempt],
    injected: float,
    interval: float,
    slow: float = SLOW_SECONDS,
    healed: float = math.inf,
) -> Outage:
    """Measure from ``injected`` on. ``attempts`` are one probe's, sorted by start; ``interval`` is its schedule's step;
    ``healed`` is when healing began.

    An attempt under way at the injection counts: a request that the fault cut off is one that the client lost.
    """
    first = next((i for i, attempt in enumerate(attempts) if attempt.end >= injected), len(attempts))
    touched = attempts[first:]
    before = attempts[first - 1] if first else None
    usual = baseline(attempts, injected, baseline_seconds(interval))
    flight = percentile([attempt.seconds for attempt in usual if attempt.good], 95) or 0.0
    stall = max(STALL_INTERVALS * interval, STALL_FACTOR * flight)
    windows = tuple(find_windows(touched, before, interval, stall, flight))
    outage = Outage(
        windows=windows,
        attempts=len(touched),
        failed=sum(not attempt.good for attempt in touched),
        slow=sum(attempt.good and attempt.seconds > slow for attempt in touched),
        disturbed=_disturbed(touched, slow),
        resolution=0.0,
        healed=healed,
    )
    gap = outage.main.gap if outage.main else max(_gaps(touched), default=interval)
    fresh = min(outage.main.flight, stall) if outage.main else 0.0
    return replace(outage, resolution=max(gap, interval) + max(flight, fresh))


def find_windows(
    attempts: Sequence[Attempt],
    before: Attempt | None,
    interval: float,
    stall: float = math.inf,
    flight: float = math.inf,
) -> Iterable[Window]:
    """The runs of attempts that failed, or waited longer than ``stall`` with nobody served meanwhile. ``before`` is the
    attempt ahead of the first, for the gap at that edge; ``flight`` is what an attempt takes when all is well (by
    default, an answer proves nothing but that its attempt was good)."""
    ends = sorted(attempt.end for attempt in attempts if attempt.good)

    def served(start: float) -> float:
        """When somebody was served first after ``start``, as far as answers show it."""
        index = bisect_right(ends, start + flight)
        return ends[index] - flight if index < len(ends) else -math.inf

    bad = [not a.good or (a.seconds > stall and served(a.start) - a.start > stall) for a in attempts]
    index = 0
    while index < len(attempts):
        if not bad[index]:
            before = attempts[index]
            index += 1
            continue
        first = attempts[index]
        after, end = _find_end(attempts, bad, index, served)
        last = attempts[after - 1]
        opening = first.start - before.start if before else interval
        closing = attempts[after].start - last.start if after < len(attempts) else interval
        failed = sum(not attempt.good for attempt in attempts[index:after])
        fresh = next((a.seconds for a in attempts[after:] if a.good and end is not None and a.start >= end), 0.0)
        window = Window(first.start, end, last.start, failed, max(opening, closing), fresh)
        if failed or window.seconds > stall:
            yield window
        before = last
        index = after


def _find_end(
    attempts: Sequence[Attempt], bad: Sequence[bool], index: int, served: Callable[[float], float]
) -> tuple[int, float | None]:
    """Of the window that begins at ``index``: the attempt after its last bad one, and when it ended."""
    while True:
        after = next((i for i in range(index, len(attempts)) if not bad[i]), len(attempts))
        if after == len(attempts):
            return after, None
        end = max(attempts[after].start, served(attempts[after - 1].start))
        again = next((i for i in range(after, len(attempts)) if bad[i] or attempts[i].start >= end), None)
        if again is None or not bad[again] or attempts[again].start >= end:
            return after, end
        index = again


def baseline_seconds(interval: float) -> float:
    """How long a probe is to be good before a fault, one that asks every ``interval`` seconds: a second, or ten
    requests where that is no more than four seconds, or else four."""
    return max(BASELINE_SECONDS, 4 * interval, min(10 * interval, 4.0))


def baseline(attempts: Sequence[Attempt], injected: float, seconds: float) -> list[Attempt]:
    """The attempts that were done within the last ``seconds`` before the injection. Not those alone that were begun in
    them too: where an answer takes a third of a second, a third of them would be missing."""
    return [attempt for attempt in attempts if injected - seconds <= attempt.end < injected]


def find_starvation(attempts: Sequence[Attempt], begin: float, end: float, interval: float) -> str:
    """Why the probe cannot be believed between ``begin`` and ``end``; empty if it can.

    A probe whose own computer had no time for it sees no failures: a gap in the schedule, or a start that came late, of
    more than five intervals means that nobody was looking.
    """
    limit = STARVED_INTERVALS * interval
    starts = [attempt.start for attempt in attempts if begin <= attempt.start <= end]
    gap = max((b - a for a, b in zip([begin, *starts], [*starts, end], strict=True)), default=0.0)
    if gap > limit:
        return f"made no attempt for {gap * 1000:.0f} ms (its interval is {interval * 1000:.0f} ms)"
    late = max((a.lateness for a in attempts if begin <= a.start <= end), default=0.0)
    if late > limit:
        return f"started an attempt {late * 1000:.0f} ms late (its interval is {interval * 1000:.0f} ms)"
    return ""


def draw_timeline(attempts: Sequence[Attempt], begin: float, end: float, cells: int, slow: float = SLOW_SECONDS) -> str:
    """One character per slice of time: ``x`` something failed, ``s`` something was slow, ``.`` good, space: none."""
    line = [" "] * cells
    rank = " .sx"
    width = (end - begin) / cells
    for attempt in attempts:
        place = math.floor((attempt.start - begin) / width) if width > 0 else -1
        if 0 <= place < cells:
            mark = "x" if not attempt.good else "s" if attempt.seconds > slow else "."
            line[place] = max(line[place], mark, key=rank.index)
    return "".join(line)


def percentile(values: Iterable[float], rank: int) -> float | None:
    """Nearest-rank percentile (p95 of five values is the largest); None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(rank / 100 * len(ordered)) - 1)]


def _disturbed(attempts: Sequence[Attempt], slow: float) -> float:
    hurt = [index for index, attempt in enumerate(attempts) if not attempt.good or attempt.seconds > slow]
    if not hurt:
        return 0.0
    after = attempts[min(hurt[-1] + 1, len(attempts) - 1)]
    return after.start - attempts[hurt[0]].start


def _gaps(attempts: Sequence[Attempt]) -> list[float]:
    return [b.start - a.start for a, b in pairwise(attempts)]

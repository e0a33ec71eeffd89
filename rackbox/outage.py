"""What a probe felt: outage windows, failed and slow requests, and how exactly that can be known. Pure.

A probe's attempts start on a fixed schedule, whether or not earlier ones have been answered (open loop), so that a
slow system is not asked less often. An attempt is *good* if it was answered, and answered right, within the probe's
timeout. An outage window runs from the start of a not-good attempt to the start of the next good one.

A *stalled* attempt is as bad: one that was answered only after the outage, because a kernel on the way kept it (Linux
queues packets while it resolves an address anew, arp(7)), and not because somebody served it.
Without that, the same outage would be long or short by the luck of the client's ARP table. So a window is a run of
attempts that failed or stalled, if one of them failed or if the run is longer than a stall.

Resolution: the true window begins somewhere between the last good and the first failed attempt, and ends between the
last failed and the next good one, so a reported length is right within ± the gap between attempts at its edges, plus
the time for which an attempt is normally under way (one that started just before the fault fails too).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rackbox.history import Attempt

SLOW_SECONDS = 0.1
BASELINE_SECONDS = 1.0
STARVED_INTERVALS = 5
STALL_FACTOR = 3
"""An answer that took so many times longer than the slow ones of the calm before (p95), and longer than
``SLOW_SECONDS``, was a stall."""


@dataclass(frozen=True, slots=True)
class Window:
    """A run of attempts that failed or stalled. ``end`` is None when no good attempt followed; ``last`` is the start of
    the last attempt in it, so ``seconds`` is then a lower bound. ``failed`` counts those that failed. ``gap`` is the
    wider of the two gaps at its edges."""

    start: float
    end: float | None
    last: float
    failed: int
    gap: float

    @property
    def closed(self) -> bool:
        return self.end is not None

    @property
    def seconds(self) -> float:
        return (self.last if self.end is None else self.end) - self.start


@dataclass(frozen=True, slots=True)
class Outage:
    """What one probe measured from the injection on.

    ``main`` is the longest window, ``later`` those that began after it ended (a second outage). ``disturbed`` is the
    whole span in which requests failed *or* were slow. ``resolution`` is the ± of ``seconds``. All in seconds.
    """

    windows: tuple[Window, ...]
    attempts: int
    failed: int
    slow: int
    disturbed: float
    resolution: float

    @property
    def main(self) -> Window | None:
        return max(self.windows, key=lambda window: (window.seconds, -window.start), default=None)

    @property
    def later(self) -> tuple[Window, ...]:
        main = self.main
        return () if main is None else tuple(window for window in self.windows if window.start > main.start)

    @property
    def seconds(self) -> float:
        return self.main.seconds if self.main else 0.0

    @property
    def recovered(self) -> bool:
        return all(window.closed for window in self.windows)


def measure_outage(attempts: Sequence[Attempt], injected: float, interval: float, slow: float = SLOW_SECONDS) -> Outage:
    """Measure from ``injected`` on. ``attempts`` are one probe's, sorted by start; ``interval`` is its schedule's step.

    An attempt under way at the injection counts: a request that the fault cut off is one that the client lost.
    """
    first = next((i for i, attempt in enumerate(attempts) if attempt.end >= injected), len(attempts))
    touched = attempts[first:]
    before = attempts[first - 1] if first else None
    flight = percentile([a.seconds for a in baseline(attempts, injected) if a.good], 95) or 0.0
    windows = tuple(find_windows(touched, before, interval, max(slow, STALL_FACTOR * flight)))
    main = max(windows, key=lambda window: window.seconds, default=None)
    gap = main.gap if main else max(_gaps(touched), default=interval)
    return Outage(
        windows=windows,
        attempts=len(touched),
        failed=sum(not attempt.good for attempt in touched),
        slow=sum(attempt.good and attempt.seconds > slow for attempt in touched),
        disturbed=_disturbed(touched, slow),
        resolution=max(gap, interval) + flight,
    )


def find_windows(
    attempts: Sequence[Attempt], before: Attempt | None, interval: float, stall: float = math.inf
) -> Iterable[Window]:
    """The runs of attempts that failed or took longer than ``stall``. ``before`` is the attempt ahead of the first, for
    the gap at that edge."""
    bad = [not attempt.good or attempt.seconds > stall for attempt in attempts]
    previous = before
    index = 0
    while index < len(attempts):
        if not bad[index]:
            previous = attempts[index]
            index += 1
            continue
        first = attempts[index]
        after = next((i for i in range(index, len(attempts)) if not bad[i]), len(attempts))
        last = attempts[after - 1]
        end = attempts[after].start if after < len(attempts) else None
        opening = first.start - previous.start if previous else interval
        closing = end - last.start if end is not None else interval
        failed = sum(not attempt.good for attempt in attempts[index:after])
        window = Window(first.start, end, last.start, failed, max(opening, closing))
        if failed or window.seconds > stall:
            yield window
        previous = last
        index = after


def baseline(attempts: Sequence[Attempt], injected: float, seconds: float = BASELINE_SECONDS) -> list[Attempt]:
    """The attempts that were begun and done within the last ``seconds`` before the injection."""
    return [attempt for attempt in attempts if attempt.start >= injected - seconds and attempt.end < injected]


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

"""Who held the floating IP, and when: by the watchers on the balancers, and by ARP from the client's side. Pure.

By the watchers, a machine holds the address from the moment it says so until it says otherwise, or until its power is
gone. **Silence is no release**: a machine that is frozen or cut off holds what it held. Two machines with power that
hold it at the same time are a double holder.

By ARP, two answer when one who-has gets replies from two MACs, or when an old MAC answers again within a second after
another has answered (A, B, A: a move there and back takes longer than that).

Entry points: ``read_holding``, ``read_arp``. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rackbox.history import PROBE_SOURCE, Attempt, History, Record

WATCH_SOURCE = "watch:"
ARP_PROBE = "floating-ip-arp"
ALTERNATION_SECONDS = 1.0
"""An old MAC that answers again within this time after a new one never let go."""
_TRUSTED_DELAY = 1.0
_LONGEST_QUIET_WAY = 0.1


@dataclass(frozen=True, slots=True)
class Span:
    """From ``begin`` to ``end``."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Move:
    """The floating IP came to ``machine``, from ``origin`` ("" = nobody was known to have held it)."""

    t: float
    origin: str
    machine: str


@dataclass(frozen=True, slots=True)
class Holding:
    """What the watchers said. ``spans`` are when each machine held the address, ``silent`` when its watcher was out of
    touch, ``changes`` every address that came or went after a watcher's first word (the moment, machine, held)."""

    spans: Mapping[str, tuple[Span, ...]]
    silent: Mapping[str, tuple[Span, ...]]
    moves: tuple[Move, ...]
    changes: tuple[tuple[float, str, bool], ...]

    def double(self, begin: float = float("-inf"), end: float = float("inf")) -> tuple[Span, ...]:
        """When two or more held it, between ``begin`` and ``end``."""
        return overlaps([span for spans in self.spans.values() for span in spans], begin, end)

    def at(self, t: float) -> tuple[str, ...]:
        """Who held it at ``t``."""
        return tuple(name for name, spans in self.spans.items() if any(s.begin <= t < s.end for s in spans))

    def hears(self, machine: str, t: float) -> bool:
        """Whether the machine's watcher was in touch at ``t``."""
        return machine in self.spans and not any(s.begin <= t < s.end for s in self.silent.get(machine, ()))


@dataclass(frozen=True, slots=True)
class Answers:
    """What ARP said. ``answers`` are the attempts with the MACs that answered each, ``double`` when two answered,
    ``gap`` the widest step between two attempts: the ± of its edges."""

    answers: tuple[tuple[Attempt, tuple[str, ...]], ...]
    double: tuple[Span, ...]
    gap: float


@dataclass(slots=True)
class _Watched:
    """One machine while its records are read."""

    since: float | None = None
    known: bool | None = None
    lost: float | None = None
    spans: list[Span] = field(default_factory=list)
    silent: list[Span] = field(default_factory=list)

    def take(self, t: float) -> None:
        self.since = t if self.since is None else self.since

    def drop(self, t: float) -> None:
        if self.since is not None:
            self.spans.append(Span(self.since, max(t, self.since)))
        self.since = None

    def speak(self, t: float) -> None:
        if self.lost is not None:
            self.silent.append(Span(self.lost, max(t, self.lost)))
        self.lost = None


def moments(records: Iterable[Record]) -> dict[int, float]:
    """When each word of a watcher was true in the guest, on this computer's monotonic clock, by the record's ``id()``:
    the record's own time less its way here.

    A virtual machine takes its clock's second from a chip, and may be up to one behind for as long as it runs. A quiet
    machine's word is here in milliseconds: if all of a machine's words took longer, it is its clock that differs, by
    the shortest of them. What is still ahead then, or more than a second behind, is not believed.
    """
    told: list[tuple[Record, tuple[str, int], float]] = []
    lost: dict[str, int] = {}  # whoever was out of touch may have been booted since: another clock
    for record in records:
        if record.event == "watch-lost":
            lost[record.source] = lost.get(record.source, 0) + 1
        guest = record.fields.get("wall_guest")
        if record.event == "address" and isinstance(guest, int | float) and not isinstance(guest, bool):
            told.append((record, (record.source, lost.get(record.source, 0)), record.wall - guest))
    shortest: dict[tuple[str, int], float] = {}
    for _, clock, delay in told:
        shortest[clock] = min(delay, shortest.get(clock, delay))
    found = {}
    for record, clock, delay in told:
        differs = shortest[clock] if not 0 <= shortest[clock] <= _LONGEST_QUIET_WAY else 0.0
        way = delay - differs
        found[id(record)] = record.t - way if 0 <= way < _TRUSTED_DELAY else record.t
    return found


def read_holding(history: History) -> Holding | None:
    """What the watchers saw in a whole run; None if none of them spoke."""
    machines: dict[str, _Watched] = {}
    moves: list[Move] = []
    changes: list[tuple[float, str, bool]] = []
    holder = ""
    pulled = 0.0
    for t, record in _in_order(history):
        if record.event == "power":
            name = record.text("machine")
            if name in machines and not record.flag("on"):
                # The fault's own pull began right after whatever it noted last; its length is the instrument's.
                machines[name].drop(pulled if record.source == "fault" and pulled else t)
                machines[name].known = False
        elif record.source.startswith(WATCH_SOURCE):
            name = record.source.removeprefix(WATCH_SOURCE)
            watched = machines.setdefault(name, _Watched())
            if record.event == "watch-lost":
                watched.lost = t if watched.lost is None else watched.lost
                continue
            held, first = record.flag("held"), watched.known is None
            watched.speak(t)
            if held != watched.known and not first:
                changes.append((t, name, held))
            if held and not watched.known:
                if not first and name != holder:
                    moves.append(Move(t, holder, name))
                holder = name
            watched.known = held
            if held:
                watched.take(t)
            else:
                watched.drop(t)
        if record.source == "fault":
            pulled = record.t
    machines = {name: watched for name, watched in machines.items() if watched.known is not None}  # who ever spoke
    if not machines:
        return None
    end = max(record.t for record in history.records)
    for watched in machines.values():
        watched.drop(end)
        watched.speak(end)
    return Holding(
        spans={name: tuple(watched.spans) for name, watched in sorted(machines.items())},
        silent={name: tuple(watched.silent) for name, watched in sorted(machines.items())},
        moves=tuple(moves),
        changes=tuple(changes),
    )


def _in_order(history: History) -> list[tuple[float, Record]]:
    """The records that bear on holding, by when they happened; what is as old as another keeps its place behind it."""
    told = moments(history.records)
    wanted = [
        (told.get(id(record), record.t), record)
        for record in history.records
        if record.source == "fault" or record.event in ("address", "watch-lost", "power")
    ]
    return sorted(wanted, key=lambda pair: pair[0])


def read_arp(attempts: Sequence[Attempt]) -> Answers | None:
    """What the ARP probe's attempts say, sorted by start; None if there are none."""
    if not attempts:
        return None
    answers = tuple((attempt, tuple(attempt.detail.split()) if attempt.good else ()) for attempt in attempts)
    found: list[Span] = []
    heard: dict[str, float] = {}  # when each MAC answered last
    newest, since = "", 0.0  # the MAC that answered last, and since when it has been the one
    for index, (attempt, macs) in enumerate(answers):
        if len(macs) > 1:
            after = answers[index + 1][0].start if index + 1 < len(answers) else attempt.end
            found.append(Span(attempt.start, after))
        for mac in macs:
            if mac != newest:
                if mac in heard and newest and attempt.start - since <= ALTERNATION_SECONDS:
                    found.append(Span(since, attempt.start))
                newest, since = mac, attempt.start
            heard[mac] = attempt.start
    gap = max((b.start - a.start for (a, _), (b, _) in pairwise(answers)), default=0.0)
    return Answers(answers, merge(found), gap)


def arp_attempts(history: History) -> tuple[Attempt, ...]:
    return history.attempts(ARP_PROBE) if history.first("attempt", PROBE_SOURCE + ARP_PROBE) else ()


def overlaps(spans: Iterable[Span], begin: float, end: float) -> tuple[Span, ...]:
    """Where two or more spans overlap, cut to ``begin`` … ``end``. Spans that only touch do not."""
    edges = sorted(
        edge
        for span in spans
        if (low := max(span.begin, begin)) < (high := min(span.end, end))
        for edge in ((low, 1), (high, -1))
    )
    found: list[Span] = []
    depth, since = 0, 0.0
    for t, step in sorted(edges):  # at equal times the end (-1) comes first
        before, depth = depth, depth + step
        if before < 2 <= depth:
            since = t
        elif depth < 2 <= before and t > since:
            found.append(Span(since, t))
    return merge(found)


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The union of spans, as spans apart from each other."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.begin):
        if found and span.begin <= found[-1].end:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)

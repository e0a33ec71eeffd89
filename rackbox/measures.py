"""The figures of one run: how long it took to notice the fault, to take over, to be redundant again, and what clients
lost meanwhile. Pure, and from the history alone. Entry points: ``measure_run``, ``summarise``.

Every figure is a ``Figure``: a length in milliseconds (its name ends in ``_ms``) or a count, with the ± of the
instrument, or None and why it could not be measured. ``FIGURES`` says what each means. A history from before watchers
and logs existed gives the figures that it can give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rackbox.history import PROBE_SOURCE, Attempt, History, Record
from rackbox.holding import WATCH_SOURCE, Answers, Holding, arp_attempts, read_arp, read_holding
from rackbox.outage import Outage, Window, percentile

LOG_SOURCE = "log:"
_LINK_DOWN = re.compile(r"link: host: \d+ link: \d+ is down")  # libknet 1.x
WATCH_RESOLUTION_MS = 5.0
"""The kernel tells a watcher of an address at once; what is left is until the watcher has had its turn on the CPU."""
STATUS_RESOLUTION_MS = 1000.0
"""The lab's health is asked for in rounds of about a second."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """``title`` heads a column, ``text`` explains it."""

    title: str
    text: str


FIGURES: Mapping[str, Meaning] = {
    "detection_ms": Meaning("detection", "from the injection until the cluster noticed: see its detail for who did"),
    "takeover_ms": Meaning("takeover", "from being noticed until a client was served again"),
    "failed": Meaning("failed", "failed requests of the judged probe"),
    "failed_after_retry": Meaning("failed twice", "failed requests whose one retry failed, too"),
    "slow": Meaning("slow", "good requests that took more than 100 ms"),
    "slow_ms": Meaning("slowest good", "the longest that a good request took"),
    "cuts": Meaning("streams cut", "long-lived streams that were cut off"),
    "double_holder_ms": Meaning("two holders", "two machines with power held the floating IP (by the watchers)"),
    "double_answer_ms": Meaning("two answers", "two MACs answered for the floating IP (by ARP, at the client)"),
    "moves": Meaning("moves", "times that the floating IP came to another machine after the injection"),
    "flaps": Meaning("flap-back", "moves beyond the first"),
    "moves_unprompted": Meaning("moves before", "moves before any fault"),
    "neighbour_ms": Meaning("client's ARP", "from the move until the client's ARP table had the new MAC, and kept it"),
    "second_outage_ms": Meaning("second outage", "the longest outage besides the main one, before healing"),
    "second_outage_healing_ms": Meaning("outage healing", "the same, from the beginning of healing on"),
    "links_given_up": Meaning(
        "links given up", "times that the cluster gave up a link between balancers, by its own log"
    ),
    "redundant_ms": Meaning("redundant", "from the injection until the lab was whole and healthy again"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of one run: ``value`` in ms or a count, None if not measured; ``resolution`` its ± in ms (None: a
    count, or not measured); ``detail`` says by whom, or why not."""

    name: str
    value: float | None
    resolution: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """One measure over the repeats: nearest-rank percentiles over the ``count`` runs that have it."""

    name: str
    count: int
    p50: float
    p95: float
    worst: float
    resolution: float | None


@dataclass(frozen=True, slots=True)
class Notice:
    """The first sign that the cluster knew: when, and what it was."""

    t: float
    by: str
    resolution_ms: float


def measure_run(history: History, injected: float, judged: str, outage: Outage | None) -> tuple[Figure, ...]:
    """All of ``FIGURES``, in that order. ``outage`` is what the judged probe felt, if it could be measured."""
    holding, arp = read_holding(history), read_arp(arp_attempts(history))
    heal = history.last("heal-start")
    healed = heal.t if heal else float("inf")
    attempts = history.attempts(judged)
    notice = find_notice(history, holding, injected)
    figures = [
        _detection(notice, injected),
        _takeover(notice, outage, healed),
        *_requests(attempts, injected, outage),
        _cuts(history, injected),
        *_holders(history, holding, arp, injected),
        *_moves(holding, injected),
        _neighbour(history, holding, injected, healed),
        *_second_outages(outage, healed),
        _links_given_up(history, injected, healed),
        _redundant(history, injected),
    ]
    return tuple(figures)


def summarise(runs: Sequence[Sequence[Figure]]) -> tuple[Summary, ...]:
    """Each measure over the repeats of a scenario; those that no run has are left out."""
    found: list[Summary] = []
    for name in FIGURES:
        figures = [figure for run in runs for figure in run if figure.name == name and figure.value is not None]
        values = [figure.value for figure in figures if figure.value is not None]
        p50, p95 = percentile(values, 50), percentile(values, 95)
        if p50 is None or p95 is None:
            continue
        widest = max((f.resolution for f in figures if f.resolution is not None), default=None)
        found.append(Summary(name, len(values), p50, p95, max(values), widest))
    return tuple(found)


def find_notice(history: History, holding: Holding | None, injected: float) -> Notice | None:
    """The first sign after the injection, and before healing, that the cluster knew of the fault: a log line that says
    so, an address that came or went, or power that the cluster itself pulled."""
    heal = history.last("heal-start")
    until = heal.t if heal else float("inf")
    signs: list[Notice] = []
    for record in history.events("line"):
        if record.fields.get("noticed") is not True:
            continue
        t = record.number("t_guest")
        machine = record.source.removeprefix(LOG_SOURCE)
        by = f"{machine}: {record.text('unit', '')}: {record.text('message', '')}"
        signs.append(Notice(t, by, _clock_error(record)))
    for t, name, held in holding.changes if holding else ():
        signs.append(Notice(t, f"{name} {'took' if held else 'released'} the floating IP", WATCH_RESOLUTION_MS))
    for record in history.events("power"):
        if record.source != "fault" and not record.flag("on"):
            signs.append(Notice(record.t, f"{record.text('machine')} was fenced", WATCH_RESOLUTION_MS))
    return min((sign for sign in signs if injected <= sign.t < until), key=lambda sign: sign.t, default=None)


def failed_after_retry(attempts: Sequence[Attempt]) -> int:
    """How many requests would have failed for a client that tries once more, as soon as it knows.

    An attempt fails at time e; its retry is the first attempt that starts at or after e, and it counts if that one
    failed, too. A request without any later attempt does not count: nobody tried again. ``attempts`` sorted by start.
    """
    count = later = 0
    for attempt in sorted((a for a in attempts if not a.good), key=lambda a: a.end):
        while later < len(attempts) and attempts[later].start < attempt.end:
            later += 1
        # An attempt that takes no time starts when it ends: it is not its own retry.
        retry = later + 1 if later < len(attempts) and attempts[later] is attempt else later
        count += retry < len(attempts) and not attempts[retry].good
    return count


def _detection(notice: Notice | None, injected: float) -> Figure:
    if notice is None:
        return Figure("detection_ms", None, detail="no sign of it in the logs or of the address")
    return Figure("detection_ms", (notice.t - injected) * 1000, notice.resolution_ms, notice.by)


def _takeover(notice: Notice | None, outage: Outage | None, healed: float) -> Figure:
    """To the end of the first outage that was not over when the fault was noticed, and began before healing."""
    name = "takeover_ms"
    if outage is None or notice is None or not outage.windows:
        return Figure(name, None, detail="no outage" if outage and not outage.windows else "nobody noticed")
    early = [window for window in outage.windows if window.start < healed]
    window = next((w for w in early if w.end is None or w.end >= notice.t), None)
    if window is None or window.end is None:
        return Figure(name, None, detail="never good again" if window else "good again before it was noticed")
    return Figure(name, (window.end - notice.t) * 1000, outage.resolution * 1000 + notice.resolution_ms)


def _requests(attempts: Sequence[Attempt], injected: float, outage: Outage | None) -> list[Figure]:
    if outage is None or not attempts:
        return [Figure(name, None) for name in ("failed", "failed_after_retry", "slow", "slow_ms")]
    touched = [attempt for attempt in attempts if attempt.end >= injected]
    slowest = max((attempt.seconds for attempt in touched if attempt.good), default=None)
    return [
        Figure("failed", outage.failed),
        Figure("failed_after_retry", failed_after_retry(touched)),
        Figure("slow", outage.slow),
        Figure("slow_ms", None if slowest is None else slowest * 1000, None if slowest is None else 1.0),
    ]


def _cuts(history: History, injected: float) -> Figure:
    streams = history.events("stream")
    if not streams:
        return Figure("cuts", None, detail="no stream was watched")
    return Figure("cuts", sum(r.t >= injected and r.text("state") == "cut" for r in streams))


def _holders(history: History, holding: Holding | None, arp: Answers | None, injected: float) -> list[Figure]:
    """Counted from the injection to the run's end: healing, too, is a time in which two may hold it."""
    watched, answered = Figure("double_holder_ms", None, detail="no watchers"), None
    if holding:
        # Of two watchers, either may have its turn first: an address handed over at once is no double holder.
        spans = [span for span in holding.double(injected) if span.seconds * 1000 > WATCH_RESOLUTION_MS]
        watched = Figure("double_holder_ms", sum(span.seconds for span in spans) * 1000, WATCH_RESOLUTION_MS)
    if arp:
        start = history.first("probe-start", arp_source(history))
        wait = start.number("timeout_ms") if start else 0.0
        seconds = sum(max(0.0, span.end - max(span.begin, injected)) for span in arp.double)
        answered = Figure("double_answer_ms", seconds * 1000, max(arp.gap * 1000, wait))
    return [watched, answered or Figure("double_answer_ms", None, detail="no ARP probe")]


def arp_source(history: History) -> str:
    attempts = arp_attempts(history)
    return PROBE_SOURCE + attempts[0].probe if attempts else ""


def _moves(holding: Holding | None, injected: float) -> list[Figure]:
    if holding is None:
        return [Figure(name, None, detail="no watchers") for name in ("moves", "flaps", "moves_unprompted")]
    after = [move for move in holding.moves if move.t >= injected]
    way = ", ".join(f"{move.origin or 'nobody'} → {move.machine}" for move in after)
    return [
        Figure("moves", len(after), detail=way),
        Figure("flaps", max(0, len(after) - 1)),
        Figure("moves_unprompted", len(holding.moves) - len(after)),
    ]


def _neighbour(history: History, holding: Holding | None, injected: float, healed: float) -> Figure:
    """Of the first move after the injection: until the client's ARP table changed for the last time before the next
    move, or before healing. It must then name the new holder, where the header knows its MAC."""
    name = "neighbour_ms"
    entries = history.events("neighbour")
    if not entries or holding is None:
        return Figure(name, None, detail="the client's ARP table was not watched")
    moves = [move for move in holding.moves if move.t >= injected]
    if not moves:
        return Figure(name, None, detail="no move")
    until = min(healed, moves[1].t if len(moves) > 1 else healed)
    known = [entry for entry in entries if entry.t < until]
    if not known or moves[0].t >= until:
        return Figure(name, None, detail="no move before healing")
    mac, expected = known[-1].text("mac"), _mac_of(history, moves[0].machine)
    if not mac or (expected and mac != expected):
        return Figure(name, None, detail=f"never: it had {mac or 'none'}; {moves[0].machine} has {expected or '?'}")
    return Figure(name, max(0.0, known[-1].t - moves[0].t) * 1000, _neighbour_step(history))


def _second_outages(outage: Outage | None, healed: float) -> list[Figure]:
    names = ("second_outage_ms", "second_outage_healing_ms")
    if outage is None:
        return [Figure(name, None) for name in names]
    main = outage.main
    others = [window for window in outage.windows if window is not main]
    split: tuple[list[Window], list[Window]] = ([w for w in others if w.start < healed], [])
    split[1].extend(window for window in others if window.start >= healed)
    return [
        Figure(name, max((w.seconds for w in windows), default=0.0) * 1000, outage.resolution * 1000)
        for name, windows in zip(names, split, strict=True)
    ]


def _links_given_up(history: History, injected: float, healed: float) -> Figure:
    """Until healing, and by Corosync: keepalived has no links. A link that is given up is no outage, but one that is
    given up though packets pass is a false alarm."""
    name = "links_given_up"
    if not history.events("line") or history.events("log-lost"):
        return Figure(name, None, detail="no logs")
    given_up = [
        record
        for record in history.events("line")
        if record.text("unit", "") == "corosync" and _LINK_DOWN.search(record.text("message", ""))
    ]
    return Figure(name, sum(injected <= record.number("t_guest") < healed for record in given_up))


def _redundant(history: History, injected: float) -> Figure:
    back = next((r for r in history.records if r.event in ("redundant", "healthy-again") and r.t >= injected), None)
    if back is None:
        return Figure("redundant_ms", None, detail="not seen healthy again")
    return Figure("redundant_ms", (back.t - injected) * 1000, STATUS_RESOLUTION_MS)


def _mac_of(history: History, machine: str) -> str:
    macs = history.header.fields.get("macs") if history.header else None
    return str(macs.get(machine, "")).lower() if isinstance(macs, Mapping) else ""


def _neighbour_step(history: History) -> float:
    """The client's ARP table is looked at by the ARP probe, once an attempt."""
    start = history.first("probe-start", arp_source(history))
    return start.number("interval_ms") if start else WATCH_RESOLUTION_MS


def _clock_error(record: Record) -> float:
    """How exactly a log line's time is known on this computer's clock; the collector says so (``clock_error_ms``)."""
    error = record.fields.get("clock_error_ms", 1.0)
    return float(error) if isinstance(error, int | float) and not isinstance(error, bool) else 1.0


__all__ = ["FIGURES", "LOG_SOURCE", "WATCH_SOURCE", "Figure", "Summary", "find_notice", "measure_run", "summarise"]

"""The picture of one run, as data: lanes of marks along a line of time. Pure; ``report_html`` prints it as SVG.

A plotting library would put some 4 MB of script into every report; what is drawn here are a few hundred rectangles.
Entry points: ``draw_run`` (from the fault until all is calm) and ``draw_whole_run``. All positions are in the picture's
own units, ``WIDTH`` of them across, with ``LEFT`` kept free for the lanes' names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from rackbox.history import PROBE_SOURCE, Attempt, History
from rackbox.holding import ARP_PROBE, Span, arp_attempts, read_arp, read_holding
from rackbox.measures import LOG_SOURCE, find_notice
from rackbox.outage import SLOW_SECONDS, find_windows
from rackbox.picture import (
    CELL,
    GAP,
    LABEL_ROOM,
    LANE,
    LEAD,
    LEAST,
    LEFT,
    ROWS,
    TAIL,
    TITLE,
    TOP,
    WIDTH,
    Lane,
    Mark,
    Moment,
    Picture,
    Scale,
    draw_ticks,
)


def draw_run(history: History, run: str) -> Picture | None:
    """From shortly before the fault until the service, the address and the cluster have come to rest; None if no fault
    was injected. ``run`` prefixes the anchors of log lines."""
    injected = history.first("inject-start")
    if injected is None:
        return None
    heal = history.last("heal-start")
    limit = heal.t if heal else _last(history)
    holding = read_holding(history)
    marks = [injected.t, *(t for t, _, _ in holding.changes if t < limit)] if holding else [injected.t]
    end_of_fault = history.last("inject-end")
    marks += [end_of_fault.t] if end_of_fault else []
    for probe in _probes(history):
        hurt = [a.end for a in history.attempts(probe) if _class_of(a) != "good" and injected.t <= a.end]
        marks += [t for t in hurt if t < limit]
    notice = find_notice(history, holding, injected.t)
    calm = max([*marks, notice.t if notice else 0.0])
    span = max(calm - injected.t, LEAST)
    return _draw(history, run, Scale(injected.t - LEAD * span, injected.t + (1 + TAIL) * span, injected.t))


def draw_whole_run(history: History, run: str) -> Picture | None:
    """From the first attempt to the run's end, healing and all."""
    injected = history.first("inject-start")
    if injected is None:
        return None
    first = min((a.start for probe in _probes(history) for a in history.attempts(probe)), default=injected.t - 1.0)
    return _draw(history, run, Scale(first, max(_last(history), first + 1.0), injected.t), noticed_only=True)


def _draw(history: History, run: str, scale: Scale, noticed_only: bool = False) -> Picture:
    rows: list[tuple[str, str, Iterable[Mark]]] = []
    for probe in _probes(history):
        rows.append((probe, "probe", _attempt_marks(history.attempts(probe), scale)))
    rows += _holder_rows(history, scale)
    rows += _arp_rows(history, scale)
    if history.events("stream"):
        rows.append(("streams", "stream", _stream_marks(history, scale)))
    rows += _power_rows(history, scale)
    rows += _log_rows(history, run, scale, noticed_only)
    lanes: list[Lane] = []
    y, before = TOP, ""
    for label, group, marks in [(label, group, tuple(marks)) for label, group, marks in rows]:
        if not marks:
            continue
        y += GAP if group != before and before else 0.0
        lanes.append(Lane(label, group, round(y, 1), marks))
        y, before = y + LANE + 2, group
    return Picture(
        begin=scale.begin - scale.zero,
        seconds=scale.end - scale.begin,
        height=y + 26,
        lanes=tuple(lanes),
        moments=_moments(history, scale),
        fault=_fault(history, scale),
        ticks=draw_ticks(scale),
    )


def _probes(history: History) -> list[str]:
    header = history.header
    names = list(header.texts("probes")) if header else []
    judged = header.text("judged", "") if header else ""
    ordered = [judged, *(name for name in names if name != judged)] if judged in names else names
    return [n for n in ordered if n != ARP_PROBE and history.first("attempt", PROBE_SOURCE + n)]


def _last(history: History) -> float:
    return max(record.t for record in history.records)


def _class_of(attempt: Attempt) -> str:
    return "fail" if not attempt.good else "slow" if attempt.seconds > SLOW_SECONDS else "good"


def _attempt_marks(attempts: Sequence[Attempt], scale: Scale) -> Iterable[Mark]:
    """Each attempt from its start to the next one's; neighbours of one kind are one mark."""
    shown = [a for a in attempts if scale.begin <= a.start <= scale.end]
    step = min((b.start - a.start for a, b in pairwise(shown)), default=0.1)
    cell = max(step, CELL * (scale.end - scale.begin) / (WIDTH - LEFT))
    rank = {"good": 0, "slow": 1, "fail": 2}
    cells: dict[int, list[Attempt]] = {}
    for attempt in shown:
        cells.setdefault(math.floor((attempt.start - scale.begin) / cell), []).append(attempt)
    groups: list[tuple[str, list[Attempt]]] = []
    for _, inside in sorted(cells.items()):
        kind = max((_class_of(a) for a in inside), key=rank.__getitem__)
        gap = groups and inside[0].start - groups[-1][1][-1].start > 5 * max(cell, step)
        if groups and groups[-1][0] == kind and not gap:
            groups[-1][1].extend(inside)
        else:
            groups.append((kind, inside))
    starts = [inside[0].start for _, inside in groups] + [scale.end]
    for (kind, inside), after in zip(groups, starts[1:], strict=True):
        begin, end = inside[0].start, min(after, inside[-1].start + 5 * max(cell, step))
        x = scale.x(begin)
        yield Mark(x, max(scale.x(end) - x, 1.0), kind, _tell(kind, inside, scale))


def _tell(kind: str, attempts: Sequence[Attempt], scale: Scale) -> str:
    words = {"good": "good", "slow": "good or slower than 100 ms", "fail": "not all good"}[kind]
    failed = sum(not a.good for a in attempts)
    slow = sum(_class_of(a) == "slow" for a in attempts)
    details = sorted({a.detail for a in attempts if not a.good and a.detail})
    first, last = scale.after(attempts[0].start), scale.after(attempts[-1].start)
    text = f"{words}: {len(attempts)} requests, {failed} failed, {slow} slow; {first} to {last}"
    return text + ("\n" + "\n".join(details[:4]) if details else "")


def _span_marks(spans: Iterable[Span], scale: Scale, kind: str, words: str, text: str = "") -> list[Mark]:
    found = []
    for span in spans:
        if scale.shows(span.begin, span.end):
            x = scale.x(span.begin)
            width = max(scale.x(span.end) - x, 1.5)
            title = f"{words} {scale.after(span.begin)} to {scale.after(span.end)} ({span.seconds * 1000:.0f} ms)"
            found.append(Mark(x, width, kind, title, text=text if width > 8 * len(text) + 8 else ""))
    return found


def _holder_rows(history: History, scale: Scale) -> list[tuple[str, str, Iterable[Mark]]]:
    holding = read_holding(history)
    if holding is None:
        marks = [
            Mark(scale.x(r.t) - 2, 4, "asked", f"asked {scale.after(r.t)}: {', '.join(r.texts('holders')) or 'nobody'}")
            for r in history.events("holders")
            if scale.shows(r.t, r.t)
        ]
        return [("holder, as asked", "holder", marks)] if history.events("holders") else []
    rows: list[tuple[str, str, Iterable[Mark]]] = []
    double = holding.double()
    for name, spans in holding.spans.items():
        kind = f"mac{_machine_index(history, name)}"
        marks = _span_marks(spans, scale, kind, f"{name} held the floating IP", name)
        marks += _span_marks(holding.silent[name], scale, "silent", f"no word from {name}")
        both = [Span(max(s.begin, d.begin), min(s.end, d.end)) for s in spans for d in double]
        marks += _span_marks([s for s in both if s.seconds > 0], scale, "double", "two machines held the floating IP")
        rows.append((f"held by {name}", "holder", marks))
    return rows


def _arp_rows(history: History, scale: Scale) -> list[tuple[str, str, Iterable[Mark]]]:
    arp = read_arp(arp_attempts(history))
    rows: list[tuple[str, str, Iterable[Mark]]] = []
    names = _mac_names(history)
    if arp:
        marks: list[Mark] = []
        last = arp.answers[-1][0].start + arp.gap
        begun: tuple[tuple[str, ...], float] | None = None
        for attempt, macs in arp.answers:
            if begun is None or macs != begun[0]:
                if begun:
                    marks += _answer_mark(*begun, attempt.start, names, scale)
                begun = (macs, attempt.start)
        if begun:
            marks += _answer_mark(*begun, last, names, scale)
        marks += _span_marks(arp.double, scale, "double", "two answered for the floating IP")
        for record in history.events("arp-announce"):
            if scale.shows(record.t, record.t):
                who = names.get(record.text("mac", ""), record.text("mac", ""))
                marks.append(
                    Mark(scale.x(record.t) - 1, 2, "announce", f"{who} announced itself {scale.after(record.t)}")
                )
        rows.append(("answers ARP", "arp", marks))
    entries = history.events("neighbour")
    if entries:
        ends = [entry.t for entry in entries[1:]] + [_last(history)]
        marks = []
        for entry, end in zip(entries, ends, strict=True):
            mac = entry.text("mac")
            who = names.get(mac, mac)
            kind = f"mac{_mac_index(names, mac)}" if mac else "none"
            marks += _span_marks([Span(entry.t, end)], scale, kind, f"the client's ARP table: {who or 'no entry'}", who)
        rows.append(("client's ARP table", "arp", marks))
    return rows


def _answer_mark(macs: tuple[str, ...], begin: float, end: float, names: Mapping[str, str], scale: Scale) -> list[Mark]:
    who = " and ".join(names.get(mac, mac) for mac in macs)
    kind = "none" if not macs else "double" if len(macs) > 1 else f"mac{_mac_index(names, macs[0])}"
    return _span_marks([Span(begin, end)], scale, kind, f"answered by {who or 'nobody'}", who)


def _mac_names(history: History) -> dict[str, str]:
    macs = history.header.fields.get("macs") if history.header else None
    return {str(mac).lower(): str(name) for name, mac in macs.items()} if isinstance(macs, Mapping) else {}


def _machine_index(history: History, name: str) -> int:
    """One colour for a machine in all lanes."""
    names = list(_mac_names(history).values())
    return names.index(name) % 4 if name in names else 0


def _mac_index(names: Mapping[str, str], mac: str) -> int:
    return list(names).index(mac) % 4 if mac in names else 0


def _stream_marks(history: History, scale: Scale) -> Iterable[Mark]:
    for record in history.events("stream"):
        if scale.shows(record.t, record.t):
            state = record.text("state")
            title = f"stream {state} {scale.after(record.t)} {record.text('reason', '')}"
            yield Mark(scale.x(record.t) - 1.5, 3, "cut" if state == "cut" else "open", title)


def _power_rows(history: History, scale: Scale) -> list[tuple[str, str, Iterable[Mark]]]:
    machines: dict[str, list[tuple[float, bool, str]]] = {}
    for record in sorted(history.events("power"), key=lambda record: record.t):
        machines.setdefault(record.text("machine"), []).append((record.t, record.flag("on"), record.source))
    rows: list[tuple[str, str, Iterable[Mark]]] = []
    for name, events in machines.items():
        marks: list[Mark] = []
        ends = [t for t, _, _ in events[1:]] + [_last(history)]
        for (t, on, source), end in zip(events, ends, strict=True):
            if not on:
                marks += _span_marks([Span(t, end)], scale, "off", f"{name} without power (by {source})", "off")
        rows.append((f"power of {name}", "power", marks))
    return rows


def _log_rows(history: History, run: str, scale: Scale, noticed_only: bool) -> list[tuple[str, str, Iterable[Mark]]]:
    rows: list[tuple[str, str, Iterable[Mark]]] = []
    for machine, lines in lines_by_machine(history).items():
        shown = [(number, r) for number, r in lines if scale.shows(r[0], r[0]) and (r[3] or not noticed_only)]
        marks = [
            Mark(
                scale.x(t) - (1.5 if noticed else 0.75),
                3 if noticed else 1.5,
                "noticed" if noticed else "line",
                f"{scale.after(t)} {unit}: {message}"[:TITLE],
                line_anchor(run, machine, number),
            )
            for number, (t, unit, message, noticed) in sorted(shown, key=lambda item: item[1][3])
        ]
        if marks:
            rows.append((f"log of {machine}", "log", marks))
    return rows


def lines_by_machine(history: History) -> dict[str, list[tuple[int, tuple[float, str, str, bool]]]]:
    """Each machine's log lines, numbered, by time: (monotonic seconds, unit, message, noticed)."""
    found: dict[str, list[tuple[float, str, str, bool]]] = {}
    for record in history.events("line"):
        line = (record.number("t_guest"), record.text("unit", ""), record.text("message", ""))
        noticed = record.fields.get("noticed") is True
        found.setdefault(record.source.removeprefix(LOG_SOURCE), []).append((*line, noticed))
    return {name: list(enumerate(sorted(lines))) for name, lines in sorted(found.items())}


def line_anchor(run: str, machine: str, number: int) -> str:
    """The id of a log line on the page."""
    return f"{run}-{machine}-{number}"


def _moments(history: History, scale: Scale) -> tuple[Moment, ...]:
    header, injected = history.header, history.first("inject-start")
    found: list[tuple[float, str, str]] = [(scale.zero, "fault", "m-fault")]
    notice = find_notice(history, read_holding(history), injected.t) if injected else None
    if notice:
        found.append((notice.t, f"noticed {scale.after(notice.t)}", "m-notice"))
    judged = history.attempts(header.text("judged")) if header else ()
    heal = history.last("heal-start")
    bad = [a for a in judged if a.end >= scale.zero and not a.good]
    if hurt := longest_hurt(bad, judged, heal.t if heal else scale.end):
        found.append((hurt, f"good again {scale.after(hurt)}", "m-good"))
    for event, label in (("heal-start", "healing"), ("redundant", "whole again"), ("healthy-again", "whole again")):
        record = history.first(event)
        if record and not any(text == label for _, text, _ in found):
            found.append((record.t, label, "m-heal"))
    moments: list[Moment] = []
    ends = [0.0] * ROWS
    for t, label, kind in sorted(found):
        if scale.begin <= t <= scale.end:
            x = scale.x(t)
            before = x > WIDTH - LABEL_ROOM  # its name stands before the line, or it would leave the picture
            begin = x - 7 * len(label) if before else x
            row = next((row for row in range(ROWS) if ends[row] < begin), ROWS - 1)
            ends[row] = x + 7 * (0 if before else len(label)) + 6
            moments.append(Moment(x, label, kind, row, before))
    return tuple(moments)


def longest_hurt(bad: Sequence[Attempt], attempts: Sequence[Attempt], until: float) -> float | None:
    """When the longest outage that began before ``until`` was over; None if there was none, or it never was."""
    windows = find_windows([a for a in attempts if not bad or a.start >= bad[0].start], None, 0.0) if bad else ()
    early = [window for window in windows if window.start < until]
    return max(early, key=lambda window: window.seconds).end if early else None


def _fault(history: History, scale: Scale) -> Mark | None:
    heal = history.last("heal-end") or history.last("heal-start")
    end = heal.t if heal else scale.end
    x = scale.x(scale.zero)
    return Mark(x, max(scale.x(end) - x, 1.0), "fault", "the fault is in")

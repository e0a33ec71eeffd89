"""The rolling renewal as data: who is next, what a client saw of it, and how that is said. Pure.

Entry points: ``find_older`` and ``next_machine`` (who runs another box than the current one, and in which order they
are replaced), ``measure_renewal`` (from the history of the probes that looked on).
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rackbox.history import Attempt, History, Record
from rackbox.outage import find_starvation, measure_outage
from rackbox.readback import add_audits, read_audit
from rackbox.topology import Node, Role, Topology

ORDER: tuple[Role, ...] = ("lb", "master", "gluster", "worker")
"""Roles not named here come next; the gateway, which all others speak through, is last."""

RenewalVerdict = Literal["held", "over", "unknown"]


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """One probe's view of the whole renewal. Milliseconds; ``after_retry`` are failed requests whose retry failed."""

    probe: str
    attempts: int
    failed: int
    after_retry: int
    outage_ms: float
    windows: int
    slow: int


@dataclass(frozen=True, slots=True)
class RenewalFigures:
    """``acknowledged``, ``lost`` and ``twice`` are writes; None where no write probe could say. ``failed`` counts all
    probes' failed requests while that machine was made anew; ``starved`` says why a probe itself had no time, if so."""

    probes: tuple[ProbeFigures, ...]
    acknowledged: int | None
    lost: int | None
    twice: int | None
    problems: tuple[str, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)
    starved: tuple[str, ...] = ()

    @property
    def verdict(self) -> RenewalVerdict:
        if self.lost or self.twice:
            return "over"
        if any(probe.after_retry for probe in self.probes):
            return "unknown" if self.starved else "over"
        if self.problems or self.lost is None or not all(probe.attempts for probe in self.probes):
            return "unknown"
        return "held"


def find_older(topology: Topology, versions: Mapping[str, str], current: str) -> tuple[Node, ...]:
    """The machines that stand on another box than the ``current`` one. ``versions`` is by machine's name."""
    return tuple(node for node in topology.nodes if versions.get(node.name, current) != current)


@dataclass(frozen=True, slots=True)
class BoxesInUse:
    """The boxes that machines stand on, by machine's name, beside the current one (None: the catalogue has none)."""

    current: str | None
    machines: Mapping[str, str]
    older: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """`boxes` of `status --json`."""
        return {"current": self.current, "machines": dict(self.machines), "older": list(self.older)}

    @property
    def lines(self) -> list[str]:
        """For a person: nothing where all is as it should be."""
        groups: dict[str, list[str]] = {}
        for name in self.older:
            groups.setdefault(self.machines[name], []).append(name)
        lines = [f"  box {version}: {', '.join(names)}" for version, names in sorted(groups.items())]
        head = f"another box than the current {self.current}, which `./lab up --renew` takes:"
        return [head, *lines] if lines else []


def compare_boxes(topology: Topology, versions: Mapping[str, str], current: str | None) -> BoxesInUse:
    older = find_older(topology, versions, current) if current else ()
    return BoxesInUse(current, versions, tuple(node.name for node in older))


def next_machine(topology: Topology, waiting: Collection[str], holder: str | None, leader: str | None) -> Node | None:
    """Who of ``waiting`` is replaced next: of balancers the one that stands by first, of masters the leader last."""
    nodes = [node for node in topology.nodes if node.name in waiting]
    return min(nodes, key=lambda node: (_rank(node.role), node.name in (holder, leader), node.index), default=None)


def _rank(role: Role) -> int:
    if role == "gateway":
        return len(ORDER) + 1
    return ORDER.index(role) if role in ORDER else len(ORDER)


def measure_renewal(history: History, probes: Sequence[str]) -> RenewalFigures:
    """From the first ``renew-start`` to the probes' end."""
    begin = history.first("renew-start")
    problems = list(history.problems)
    if begin is None:
        return RenewalFigures((), None, None, None, ("no machine was begun with",))
    figures, starved = [], []
    for name in probes:
        attempts = history.attempts(name)
        start = history.first("probe-start", f"probe:{name}")
        interval = start.number("interval_ms") / 1000 if start else 0.02
        outage = measure_outage(attempts, begin.t, interval)
        again = count_failed_again(attempts, begin.t)
        windows = len(outage.windows)
        figures.append(
            ProbeFigures(
                name, outage.attempts, outage.failed, again, round(outage.seconds * 1000, 1), windows, outage.slow
            )
        )
        if attempts and (why := find_starvation(attempts, begin.t, attempts[-1].start, interval)):
            starved.append(f"{name} {why}: this computer was too busy to tell")
        if not outage.recovered:
            problems.append(f"{name}: still failing when it ended")
        if crash := history.first("probe-crash", f"probe:{name}"):
            problems.append(f"{name}: {crash.text('message', '')}")
    failed = _count_by_machine(history, probes)
    audits = [history.last("probe-audit", record.source) for record in _audited(history)]
    sound = [audit for audit in audits if audit is not None and "error" not in audit.fields]
    if not audits or len(sound) < len(audits):
        reasons = [audit.fields["error"] if audit else "no audit" for audit in audits if audit not in sound] or [
            "no audit"
        ]
        problems.append(f"writes not read back: {reasons[0]}")
        return RenewalFigures(tuple(figures), None, None, None, tuple(problems), failed, tuple(starved))
    writes = add_audits([read_audit(audit) for audit in sound])
    counts = (writes.acknowledged, writes.lost_count, writes.twice_count)
    return RenewalFigures(tuple(figures), *counts, tuple(problems), failed, tuple(starved))


def _audited(history: History) -> list[Record]:
    """Of each probe that promised an audit, or made one, a record; an audit of a probe that never started counts
    too."""
    promised = [record for record in history.events("probe-start") if record.fields.get("audits")]
    made = history.events("probe-audit")
    return list({record.source: record for record in (*promised, *made)}.values())


def _count_by_machine(history: History, probes: Sequence[str]) -> dict[str, int]:
    starts = [attempt.start for name in probes for attempt in history.attempts(name) if not attempt.good]
    counts = {}
    for record in history.events("renew-start"):
        machine = record.text("machine")
        ends = [r.t for r in history.events("renew-end") if r.fields.get("machine") == machine and r.t > record.t]
        counts[machine] = sum(record.t <= start <= (ends[0] if ends else start) for start in starts)
    return counts


def count_failed_again(attempts: Sequence[Attempt], begin: float) -> int:
    """Failed requests whose retry, the first attempt that starts once they have ended, failed as well."""
    starts = [attempt.start for attempt in attempts]
    count = 0
    for attempt in attempts:
        if attempt.good or attempt.end < begin:
            continue
        retry = bisect.bisect_left(starts, attempt.end)
        count += retry < len(attempts) and not attempts[retry].good
    return count


def renewal_json(figures: RenewalFigures, machines: Sequence[str], seconds: float, box: str) -> dict[str, Any]:
    """``renewal.json`` beside the history."""
    return {
        "schema": 1,
        "verdict": figures.verdict,
        "box": box,
        "machines": list(machines),
        "seconds": round(seconds, 1),
        "probes": {
            probe.probe: {
                "attempts": probe.attempts,
                "failed": probe.failed,
                "failed_after_retry": probe.after_retry,
                "outage_ms": probe.outage_ms,
                "windows": probe.windows,
                "slow": probe.slow,
            }
            for probe in figures.probes
        },
        "writes": None
        if figures.lost is None
        else {"acknowledged": figures.acknowledged, "lost": figures.lost, "twice": figures.twice},
        "failed_by_machine": dict(figures.failed),
        "starved": list(figures.starved),
        "problems": list(figures.problems),
    }


def describe_figures(figures: RenewalFigures, what: str = "renewal", done: str = "made anew") -> list[str]:
    """What the probes saw, in lines for a person. ``what`` was done, after which a machine is ``done``."""
    lines = [
        f"{probe.probe}: {probe.attempts} requests, {probe.failed} failed, {probe.after_retry} after one retry"
        + (f"; longest outage {probe.outage_ms:.0f} ms" if probe.failed else "")
        for probe in figures.probes
    ]
    if figures.lost is not None:
        lines.append(f"writes: {figures.acknowledged} acknowledged, {figures.lost} lost, {figures.twice} twice")
    if any(figures.failed.values()):
        told = ", ".join(f"{count} at {name}" for name, count in figures.failed.items() if count)
        lines.append(f"failed while a machine was {done}: {told}")
    return [*lines, *figures.starved, *figures.problems, f"{what}: {figures.verdict}"]

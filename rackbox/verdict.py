"""Says of a history: held, over budget, or unknown, and why. Pure, and from the history alone.

*Unknown* is the answer whenever the run does not prove anything: nobody was looking, the fault was not seen to bite,
the history is damaged, the lab did not come back to exactly one holder. It never passes. Entry points: ``judge_run``,
``judge_all``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rackbox.doubts import check_bite, check_end, check_file, check_holders, check_probe, read_interval
from rackbox.history import History, HistoryError, Record
from rackbox.holding import read_holding
from rackbox.measures import Figure, Summary, measure_run, summarise
from rackbox.outage import (
    Outage,
    draw_timeline,
    find_starvation,
    measure_outage,
    percentile,
)
from rackbox.promises import LimitChecks, check_audits, check_limits, check_watchers, note_figures, read_limits
from rackbox.readback import WriteAudit, read_audits

Verdict = Literal["held", "over budget", "unknown"]

TIMELINE_CELLS = 48
_TIMELINE_LEAD = 0.5


@dataclass(frozen=True, slots=True)
class ProbeMeasure:
    """What one probe felt. ``interval`` is seconds."""

    probe: str
    interval: float
    outage: Outage


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """All that is said about one run. Seconds throughout; ``judged`` is the probe that the budget is held against.

    ``holder_before`` / ``holder_after`` are comma-separated machine names (the floating IP's holders before the fault
    and after recovery), ``healthy_again`` counts from the end of healing. ``timeline`` covers ``timeline_seconds`` from
    half a second before the injection, see ``outage.draw_timeline``. ``figures`` are ``measures.FIGURES``; ``limits``
    what was promised of them (ms, or a count). ``begun`` is the wall time of the history's first record.
    """

    run: str
    scenario: str
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    budget: float | None = None
    judged: str = ""
    measures: tuple[ProbeMeasure, ...] = ()
    writes: WriteAudit | None = None
    target: str = ""
    machines: tuple[str, ...] = ()
    holder_before: str = ""
    holder_after: str = ""
    healthy_again: float | None = None
    timeline: str = ""
    timeline_seconds: float = 0.0
    figures: tuple[Figure, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    begun: float = 0.0
    seconds: float = 0.0
    box: str = ""

    def figure(self, name: str) -> float | None:
        return next((figure.value for figure in self.figures if figure.name == name), None)

    @property
    def outage(self) -> Outage | None:
        return next((measure.outage for measure in self.measures if measure.probe == self.judged), None)

    @property
    def failed(self) -> int:
        return self.outage.failed if self.outage else 0


@dataclass(frozen=True, slots=True)
class ScenarioVerdict:
    """Several runs of one scenario, taken together. Percentiles are nearest-rank over the runs that measured."""

    scenario: str
    verdict: Verdict
    runs: tuple[RunVerdict, ...]
    budget: float | None
    p50: float | None
    p95: float | None
    worst: float | None
    resolution: float | None
    failed: int
    slow: int
    summaries: tuple[Summary, ...] = ()

    def worst_of(self, name: str) -> float | None:
        """The worst of one figure over the runs; None if no run has it."""
        return next((summary.worst for summary in self.summaries if summary.name == name), None)

    def p95_of(self, name: str) -> float | None:
        return next((summary.p95 for summary in self.summaries if summary.name == name), None)

    def total(self, name: str) -> float | None:
        """One figure, summed over the runs that have it."""
        values = [value for run in self.runs if (value := run.figure(name)) is not None]
        return sum(values) if values else None

    @property
    def worst_double(self) -> float | None:
        """The longest (ms) that two machines held, or answered for, the floating IP in one run."""
        worst = [self.worst_of(name) for name in ("double_holder_ms", "double_answer_ms")]
        return max((value for value in worst if value is not None), default=None)


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """One over budget makes it over budget, else one unknown makes it unknown; nothing at all is unknown."""
    if "over budget" in verdicts:
        return "over budget"
    return "held" if verdicts and "unknown" not in verdicts else "unknown"


def judge_all(scenario: str, runs: Sequence[RunVerdict]) -> ScenarioVerdict:
    """Take the repeats of one scenario together."""
    outages = [run.outage for run in runs if run.outage is not None]
    seconds = [outage.seconds for outage in outages]
    return ScenarioVerdict(
        scenario=scenario,
        verdict=combine([run.verdict for run in runs]),
        runs=tuple(runs),
        budget=next((run.budget for run in runs if run.budget is not None), None),
        p50=percentile(seconds, 50),
        p95=percentile(seconds, 95),
        worst=max(seconds, default=None),
        resolution=max((outage.resolution for outage in outages), default=None),
        failed=sum(outage.failed for outage in outages),
        slow=sum(outage.slow for outage in outages),
        summaries=summarise([run.figures for run in runs]),
    )


def judge_run(history: History, run: str) -> RunVerdict:
    """The verdict on one history; ``run`` is its name in reports. Never raises for a damaged one: that is unknown."""
    try:
        return _judge(history, run)
    except HistoryError as error:
        header = history.header
        name = header.fields.get("scenario", "?") if header else "?"
        return RunVerdict(run, str(name), "unknown", (f"history is damaged: {error}",))


@dataclass
class _Findings:
    """What a history shows of a fault that was injected; nothing, where none was."""

    doubts: list[str]
    notes: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    measures: tuple[ProbeMeasure, ...] = ()
    figures: tuple[Figure, ...] = ()
    checks: LimitChecks = field(default_factory=LimitChecks)
    timeline: str = ""
    span: float = 0.0

    def outage(self, judged: str) -> Outage | None:
        return next((measure.outage for measure in self.measures if measure.probe == judged), None)


def _find(history: History, header: Record, judged: str, limits: Mapping[str, float]) -> _Findings:
    found = _Findings([*check_file(history), *check_end(history)])
    injected = history.first("inject-start")
    if injected is None:
        found.doubts.append("the fault was never injected")
        return found
    found.measures = _measure(history, header, injected.t)
    found.doubts += [*check_bite(history, header), *check_probe(history, header, judged, injected)]
    found.figures = measure_run(history, injected.t, judged, found.outage(judged))
    found.checks = check_limits(limits, found.figures)
    contradictions, silent = check_watchers(history, read_holding(history), injected.t)
    found.split = [*check_holders(history, header), *contradictions, *check_audits(history)]
    found.timeline, found.span = _draw(history, judged, injected.t)
    found.notes = [*_note(history, header, found.measures, judged), *note_figures(found.figures, limits), *silent]
    return found


def _judge(history: History, run: str) -> RunVerdict:
    header = history.header
    if header is None:
        return RunVerdict(run, "?", "unknown", ("history has no header", *check_file(history)))
    scenario, judged, budget = header.text("scenario"), header.text("judged"), header.number("budget_ms") / 1000
    target = history.last("target")
    limits = read_limits(header)
    found = _find(history, header, judged, limits)
    audits = read_audits(history)
    doubts, broken = [*found.doubts, *audits.doubts], [*audits.broken, *found.checks.broken]
    verdict, reasons = _decide(found.outage(judged), budget, doubts, broken, found.split, found.checks)
    return RunVerdict(
        run=run,
        scenario=scenario,
        verdict=verdict,
        reasons=reasons,
        notes=tuple(found.notes),
        budget=budget,
        judged=judged,
        measures=found.measures,
        writes=audits.total,
        target=target.text("target") if target else header.text("target"),
        machines=target.texts("machines") if target else (),
        holder_before=_holders(history, "before"),
        holder_after=_holders(history, "recovered"),
        healthy_again=_healthy_again(history),
        timeline=found.timeline,
        timeline_seconds=found.span,
        figures=found.figures,
        limits=limits,
        begun=history.records[0].wall,
        seconds=history.records[-1].t - history.records[0].t,
        box=_box(header),
    )


def _decide(
    outage: Outage | None,
    budget: float,
    doubts: Sequence[str],
    broken: Sequence[str],
    split: Sequence[str],
    checks: LimitChecks,
) -> tuple[Verdict, tuple[str, ...]]:
    """A promise seen broken is over budget, whatever else is in doubt; then doubts about the instrument come before its
    figures, because a figure that cannot be trusted is neither good nor bad."""
    if broken:
        return "over budget", (*broken, *doubts, *split)
    if doubts or outage is None:
        return "unknown", (*doubts, *checks.unclear, *split) or ("nothing was measured",)
    over = list(checks.over)
    longest = outage.longest
    if longest > budget:
        end = "" if outage.recovered else " at least: it was never good again"
        when = "" if longest == outage.seconds else "after healing began: "
        # A figure that is over by less than it is rounded by is told to the tenth.
        places = 1 if f"{longest * 1000:.0f}" == f"{budget * 1000:.0f}" else 0
        over.insert(0, f"{when}outage {longest * 1000:.{places}f} ms{end}; budget {budget * 1000:.0f} ms")
    if over:
        return "over budget", (*over, *split)
    unclear = [*checks.unclear, *split]
    if not outage.recovered:
        unclear.insert(0, "never good again, but the probe ended before the budget did")
    elif longest + outage.resolution > budget:
        figure = f"{longest * 1000:.0f} ± {outage.resolution * 1000:.0f} ms"
        unclear.insert(0, f"the outage of {figure} cannot be told from the budget of {budget * 1000:.0f} ms")
    return ("unknown", tuple(unclear)) if unclear else ("held", ())


def _measure(history: History, header: Record, injected: float) -> tuple[ProbeMeasure, ...]:
    heal = history.last("heal-start")
    healed = heal.t if heal else math.inf
    found: list[ProbeMeasure] = []
    for probe in header.texts("probes"):
        interval = read_interval(history, probe)
        outage = measure_outage(history.attempts(probe), injected, interval, healed=healed)
        found.append(ProbeMeasure(probe, interval, outage))
    return tuple(found)


def _note(history: History, header: Record, measures: Sequence[ProbeMeasure], judged: str) -> list[str]:
    notes: list[str] = []
    if history.truncated:
        notes.append("the history's last line was cut off")
    heal = history.last("heal-start")
    later = [window for measure in measures if measure.probe == judged for window in measure.outage.later]
    healing = [window for window in later if heal and window.start >= heal.t]
    early = [window for window in later if window not in healing]
    for windows, when in ((early, "before healing"), (healing, "after healing began")):
        if windows:
            longest = max(window.seconds for window in windows) * 1000
            count = "another outage" if len(windows) == 1 else f"{len(windows)} more outages"
            failed = sum(window.failed for window in windows)
            notes.append(f"{count} {when}, the longest {longest:.0f} ms ({failed} failed)")
    outage = next((measure.outage for measure in measures if measure.probe == judged), None)
    if outage and outage.disturbed > outage.seconds + outage.resolution:
        notes.append(f"{outage.disturbed * 1000:.0f} ms from the first to the last request that failed or was slow")
    if heal:
        attempts = history.attempts(judged)
        end = attempts[-1].start if attempts else heal.t
        if starved := find_starvation(attempts, heal.t, max(end, heal.t), read_interval(history, judged)):
            notes.append(f"while the lab was healed, {judged} {starved}")
    return notes


def _holders(history: History, phase: str) -> str:
    audit = next((r for r in reversed(history.events("holders")) if r.text("phase") == phase), None)
    return ", ".join(audit.texts("holders")) if audit else ""


def _healthy_again(history: History) -> float | None:
    heal, healthy = history.last("heal-end"), history.last("healthy-again")
    return healthy.t - heal.t if heal and healthy else None


def _box(header: Record) -> str:
    facts = header.fields.get("facts")
    return str(facts.get("box") or "") if isinstance(facts, Mapping) else ""


def _draw(history: History, judged: str, injected: float) -> tuple[str, float]:
    attempts = history.attempts(judged)
    last = attempts[-1].start if attempts else injected
    recovered = history.last("good-again")
    end = min(last, recovered.t if recovered else last)
    span = max(end - injected + _TIMELINE_LEAD, 1.0)
    begin = injected - _TIMELINE_LEAD
    return draw_timeline(attempts, begin, begin + span, TIMELINE_CELLS), span

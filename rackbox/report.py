"""Shows a failover test's result: one screen for people, one JSON document for programs. Pure.

The JSON document (``report_json``, ``"schema": 1``): ``lab``, ``provider``, ``group`` (the series' time stamp),
``runs`` (the directory of the histories), ``verdict`` (``held``, ``over budget``, ``unknown``), ``cut_short``,
``notes``, and ``scenarios``: each with ``name``, ``verdict``, ``repeat``, ``budget_ms``, ``outage_ms`` (``p50``,
``p95``, ``max``, nearest-rank, null if nothing was measured), ``resolution_ms`` (every outage is right within ± this),
``failed_requests``, ``slow_requests`` (good, but over 100 ms), ``figures`` (over the repeats, see
``measures.FIGURES``) and ``runs`` (see ``run_json``). Keys may be added; none changes its meaning.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rackbox.errors import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN
from rackbox.history import JsonValue
from rackbox.measures import Figure, Summary
from rackbox.outage import SLOW_SECONDS, Outage
from rackbox.readback import WriteAudit, add_audits
from rackbox.verdict import RunVerdict, ScenarioVerdict, Verdict, combine

REPORT_SCHEMA = 1
_EXITS: dict[Verdict, int] = {"held": EXIT_OK, "over budget": EXIT_FAILED, "unknown": EXIT_UNKNOWN}
_COLOURS: dict[Verdict, str] = {"held": "green", "over budget": "red", "unknown": "yellow"}
_GLYPHS = {".": ("▁", "green"), "s": ("▄", "yellow"), "x": ("█", "red"), " ": (" ", "")}
_MAX_RUN_LINES = 10
_MAX_FULL_RUNS = 8
_MAX_REASONS = 3


@dataclass(frozen=True, slots=True)
class FailoverReport:
    """All scenarios of one series. ``cut_short``: the series could not be played to its end, so it proves nothing."""

    lab: str
    provider: str
    group: str
    runs: str
    scenarios: tuple[ScenarioVerdict, ...]
    notes: tuple[str, ...] = ()
    cut_short: bool = False

    @property
    def verdict(self) -> Verdict:
        cut: list[Verdict] = ["unknown"] if self.cut_short else []
        return combine([*(scenario.verdict for scenario in self.scenarios), *cut])

    @property
    def exit_code(self) -> int:
        return _EXITS[self.verdict]


def report_json(report: FailoverReport) -> dict[str, JsonValue]:
    """The document described at the top of this module."""
    return {
        "schema": REPORT_SCHEMA,
        "lab": report.lab,
        "provider": report.provider,
        "group": report.group,
        "runs": report.runs,
        "verdict": report.verdict,
        "cut_short": report.cut_short,
        "notes": report.notes,
        "scenarios": [_scenario_json(scenario) for scenario in report.scenarios],
    }


def _scenario_json(scenario: ScenarioVerdict) -> dict[str, JsonValue]:
    return {
        "name": scenario.scenario,
        "verdict": scenario.verdict,
        "repeat": len(scenario.runs),
        "budget_ms": _ms(scenario.budget),
        "outage_ms": {"p50": _ms(scenario.p50), "p95": _ms(scenario.p95), "max": _ms(scenario.worst)},
        "resolution_ms": _ms(scenario.resolution),
        "failed_requests": scenario.failed,
        "slow_requests": scenario.slow,
        "figures": {summary.name: _summary_json(summary) for summary in scenario.summaries},
        "runs": [run_json(run) for run in scenario.runs],
    }


def run_json(run: RunVerdict) -> dict[str, JsonValue]:
    """One run: its verdict with reasons and notes, whom it hit, who held the floating IP before and after, how long the
    lab took to be healthy after healing, the outage that is judged, and what each probe felt."""
    return {
        "run": run.run,
        "scenario": run.scenario,
        "verdict": run.verdict,
        "reasons": run.reasons,
        "notes": run.notes,
        "budget_ms": _ms(run.budget),
        "judged": run.judged,
        "outage_ms": _ms(run.outage.seconds) if run.outage else None,
        "resolution_ms": _ms(run.outage.resolution) if run.outage else None,
        "target": run.target,
        "machines": run.machines,
        "holder": {"before": run.holder_before, "after": run.holder_after},
        "healthy_again_ms": _ms(run.healthy_again),
        "writes": _writes_json(run.writes) if run.writes else None,
        "probes": {
            measure.probe: {"interval_ms": _ms(measure.interval), **_outage_json(measure.outage)}
            for measure in run.measures
        },
        "timeline": {"seconds": round(run.timeline_seconds, 3), "cells": run.timeline},
        "figures": {figure.name: _figure_json(figure) for figure in run.figures},
        "limits": dict(run.limits),
        "begun": round(run.begun, 3),
        "seconds": round(run.seconds, 3),
        "box": run.box,
    }


def _writes_json(writes: WriteAudit) -> dict[str, JsonValue]:
    return {
        "acknowledged": writes.acknowledged,
        "lost": writes.lost,
        "twice": writes.twice,
        "lost_count": writes.lost_count,
        "twice_count": writes.twice_count,
        "disorder_count": writes.disorder_count,
    }


def _figure_json(figure: Figure) -> dict[str, JsonValue]:
    return {
        "value": None if figure.value is None else round(figure.value, 1),
        "resolution_ms": None if figure.resolution is None else round(figure.resolution, 1),
        "detail": figure.detail,
    }


def _summary_json(summary: Summary) -> dict[str, JsonValue]:
    return {
        "count": summary.count,
        "p50": round(summary.p50, 1),
        "p95": round(summary.p95, 1),
        "max": round(summary.worst, 1),
        "resolution_ms": None if summary.resolution is None else round(summary.resolution, 1),
    }


def _outage_json(outage: Outage) -> dict[str, JsonValue]:
    return {
        "outage_ms": _ms(outage.seconds),
        "resolution_ms": _ms(outage.resolution),
        "recovered": outage.recovered,
        "attempts": outage.attempts,
        "failed": outage.failed,
        "slow": outage.slow,
        "disturbed_ms": _ms(outage.disturbed),
        "windows": [
            {"ms": _ms(window.seconds), "failed": window.failed, "closed": window.closed, "start": window.start}
            for window in outage.windows
        ],
    }


def render_report(report: FailoverReport) -> RenderableType:
    """One screen: a table of scenarios, a line per run (of a long series, those that need looking at), the verdict."""
    table = Table(title=f"failover test of lab {report.lab} ({report.provider})", title_justify="left")
    table.add_column("scenario", no_wrap=True, overflow="fold")
    for name in ("n", "p50", "p95", "max", "±", "budget", "failed", "twice", "2 holders"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True, overflow="fold")
    for scenario in report.scenarios:
        table.add_row(
            scenario.scenario,
            str(len(scenario.runs)),
            _figure(scenario.p50),
            _figure(scenario.p95),
            _figure(scenario.worst),
            _figure(scenario.resolution),
            _figure(scenario.budget),
            str(scenario.failed),
            _plain(scenario.total("failed_after_retry")),
            _plain(scenario.worst_double),
            Text(scenario.verdict, style=_COLOURS[scenario.verdict]),
        )
    lines = _run_lines(report)
    if writes := [run.writes for scenario in report.scenarios for run in scenario.runs if run.writes]:
        total = add_audits(writes)
        found = f"{total.lost_count} lost, {total.twice_count} twice"
        lines.append(Text(f"writes: {total.acknowledged} acknowledged and read back afterwards, {found}"))
    end = Text.assemble(("verdict: ", "bold"), (report.verdict, f"bold {_COLOURS[report.verdict]}"))
    legend = (
        f"▁ good  ▄ slower than {SLOW_SECONDS * 1000:.0f} ms  █ failed; each line starts 0.5 s before the fault\n"
        "all lengths in ms; twice: failed, and its one retry, too; 2 holders: how long two held, or answered for, it"
    )
    notes = [Text(f"note: {note}", style="dim") for note in report.notes]
    return Group(table, *lines, Text(legend, style="dim"), *notes, Text(f"histories: {report.runs}", style="dim"), end)


def _run_lines(report: FailoverReport) -> list[Text]:
    """What happened in each run. Of a long series: the reasons, each told once with how often, then the worst runs."""
    runs = [run for scenario in report.scenarios for run in scenario.runs]
    if len(runs) <= _MAX_RUN_LINES:
        brief = len(runs) > _MAX_FULL_RUNS
        return [_run_line(run, reasons=not brief or run.verdict != "held") for run in runs]
    lines: list[Text] = []
    for scenario in report.scenarios:
        told = Counter(_without_figures(reason) for run in scenario.runs for reason in run.reasons)
        for kind, count in told.most_common(_MAX_REASONS):
            first = next(r for run in scenario.runs for r in run.reasons if _without_figures(r) == kind)
            times = f" (and {count - 1} more like it)" if count > 1 else ""
            style = _COLOURS[scenario.verdict]
            lines.append(
                Text.assemble((f"{scenario.scenario}: ", style), f"{first}{times}", no_wrap=True, overflow="ellipsis")
            )
    if len(report.scenarios) == 1:
        worst = sorted(runs, key=lambda run: run.outage.seconds if run.outage else 0.0, reverse=True)[:3]
        lines += [_run_line(run, reasons=False) for run in worst]
    return lines


def _without_figures(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def _run_line(run: RunVerdict, reasons: bool = True) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for cell in run.timeline:
        line.append(*_GLYPHS[cell])
    line.append(f" {run.timeline_seconds:.1f} s ", style="dim")
    figure = f"{run.outage.seconds * 1000:.0f} ms" if run.outage else "not measured"
    line.append(f"{run.scenario}: {figure}, {_detected(run)}{_takeover(run)}")
    if run.verdict != "held":
        line.append(f" - {run.verdict}", style=_COLOURS[run.verdict])
    for text in (*run.reasons, *run.notes) if reasons else ():
        line.append(f"\n    {text}", style="dim")
    return line


def _detected(run: RunVerdict) -> str:
    detection = run.figure("detection_ms")
    return "" if detection is None else f"noticed after {detection:.0f}, "


def _takeover(run: RunVerdict) -> str:
    hit = ", ".join(run.machines) or run.target or "nothing"
    if not run.holder_before:
        return f"hit {hit}"
    if run.holder_before == run.holder_after:
        return f"hit {hit}, floating IP stayed on {run.holder_before}"
    return f"hit {hit}, floating IP {run.holder_before} → {run.holder_after or 'nobody'}"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _figure(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f}"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"

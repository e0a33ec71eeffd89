"""The failover test: plays scenarios, each as often as asked, and gives the report on them.

Entry points: ``failover_test``, ``judge`` (an old run again, from its history alone), ``list_scenarios``. Each repeat
is a directory of its own under the lab's ``runs``, ``<group>-<scenario>-<n>``, written before the next begins: a long
series that was broken off goes on with ``resume``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.markup import escape

from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, LabError
from rackbox.header import make_header
from rackbox.history import SCHEMA, JsonValue
from rackbox.machine import Lab
from rackbox.publish import write_junit, write_page, write_text
from rackbox.recorder import load_history
from rackbox.repertoire import choose_scenarios, list_scenarios, render_scenarios
from rackbox.report import FailoverReport, render_report, report_json, run_json
from rackbox.scenario import HISTORY, Stage, play_scenario
from rackbox.scenarios import Scenario
from rackbox.show import write_json
from rackbox.topology import Topology
from rackbox.trend import read_trend, render_trend, trend_json
from rackbox.verdict import RunVerdict, judge_all, judge_run

__all__ = ["command", "failover_test", "judge", "list_scenarios"]

VERDICT = "verdict.json"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a report goes besides the terminal. ``json``: JSON on standard output instead of it."""

    json: bool = False
    out: Path | None = None
    junit: Path | None = None
    html: Path | None = None


def command(
    lab_file: Path,
    scenarios: Sequence[str],
    repeat: int,
    outputs: Outputs,
    *,
    judged: str = "",
    resume: str = "",
) -> int:
    """``invoke failover-test``: play, or judge again; report; the exit code is the verdict's.

    ``judged`` is the path of a run or a series, or its name among the lab's own runs.
    """
    from rackbox.lab import lab_lock, open_lab

    if judged:
        where = Path(judged)
        if where.name == judged and not where.exists():
            where = open_lab(lab_file).paths.runs / judged
        return _show(judge(where), outputs)
    lab = open_lab(lab_file)
    choose_scenarios(lab.topology, scenarios, repeat, lab.provider.name)
    lab.require_up()
    chatter = open_console(stderr=True)

    def say(text: str) -> None:
        chatter.print(f"[dim]{datetime.now():%H:%M:%S}[/] {escape(text)}")

    with lab_lock(lab.paths):
        state = lab.state
        facts = {**lab.provider.facts(), "box": state.box_version if state else ""}
        report = failover_test(
            lab,
            scenarios,
            repeat,
            provider=lab.provider.name,
            facts=facts,
            resume=resume or None,
            say=say,
            patience=lab.provider.patience,
        )
    page = lab.paths.runs / f"{report.group}-report.html"
    write_page(report, page)
    code = _show(report, outputs)
    say(f"report: {page}")
    return code


def _show(report: FailoverReport, outputs: Outputs) -> int:
    """Files first: a reader of standard output that goes away must not cost a CI system its results."""
    if outputs.junit is not None:
        write_junit(report, outputs.junit)
    if outputs.html is not None:
        write_page(report, outputs.html)
    if outputs.json or outputs.out is not None:
        write_json(report_json(report), outputs.out)
    if not outputs.json:
        open_console().print(render_report(report))
    return report.exit_code


def list_command(lab_file: Path, outputs: Outputs) -> int:
    """``--list``: the scenarios, what each needs, and its budget."""
    from rackbox.lab import open_lab

    lab = open_lab(lab_file)
    return _show_list(lab.topology, lab.provider.name, outputs.json, outputs.out)


def trend_command(lab_file: Path, outputs: Outputs) -> int:
    """``--trend``: how each scenario came out in every stored series."""
    from rackbox.lab import open_lab

    points = read_trend(open_lab(lab_file).paths.runs)
    if outputs.json or outputs.out is not None:
        write_json({"schema": SCHEMA, "points": trend_json(points)}, outputs.out)
    if not outputs.json:
        open_console().print(render_trend(points))
    return EXIT_OK


def _show_list(topology: Topology, provider: str, as_json: bool, out: Path | None) -> int:
    rows = list_scenarios(topology, provider)
    if as_json or out is not None:
        write_json({"schema": SCHEMA, "scenarios": rows}, out)
    if not as_json:
        open_console().print(render_scenarios(rows))
    return EXIT_OK


def failover_test(
    lab: Lab,
    scenarios: Sequence[str] = (),
    repeat: int = 1,
    *,
    provider: str = "unknown",
    facts: Mapping[str, JsonValue] | None = None,
    resume: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    stage: Stage | None = None,
    patience: float = 1.0,
) -> FailoverReport:
    """Break ``lab`` by each of ``scenarios`` (all that the lab can survive, if none is named), ``repeat`` times each.

    ``facts`` are kept in every history's header (cgroup view, versions). ``resume`` is the group (time stamp) of a
    series to go on with: runs that came to their end are judged again, not made again. ``say`` is told of progress,
    one line at a time; ``patience``: how many times as long as containers the lab's machines take. Raises ``LabError``
    for what cannot be run, before anything is touched; ``KeyboardInterrupt`` once all is healed.
    """
    if resume:
        scenarios, repeat = _recall_series(lab.paths.runs, resume, scenarios, repeat)
    chosen, notes = choose_scenarios(lab.topology, scenarios, repeat, provider)
    chosen = [scenario.slowed(patience) for scenario in chosen]
    stage = stage or Stage(say=say, patience=patience)
    group = resume or datetime.fromtimestamp(stage.wall()).strftime("%Y%m%dT%H%M%S")
    if resume and not find_runs(lab.paths.runs, resume):
        raise LabError(f"{lab.paths.runs}: no runs of {resume} to go on with", "`ls` it to see what there is")
    done: dict[str, list[RunVerdict]] = {scenario.name: [] for scenario in chosen}
    lab.paths.runs.mkdir(parents=True, exist_ok=True)
    asked = {"schema": SCHEMA, "scenarios": [scenario.name for scenario in chosen], "repeat": repeat}
    write_text(_series_file(lab.paths.runs, group), json.dumps(asked) + "\n")
    with stage.interrupts:
        for scenario in chosen:
            for number in range(1, repeat + 1):
                say(f"{scenario.name} {number}/{repeat}")
                run_dir = lab.paths.runs / f"{group}-{scenario.name}-{number}"
                try:
                    verdict = _run_once(
                        lab, scenario, run_dir, stage, make_header(lab, scenario, group, number, provider, facts)
                    )
                except LabError as error:
                    if not any(done.values()):
                        raise
                    notes.append(f"stopped before {scenario.name} {number}/{repeat}: {error.message}")
                    return _report(lab.topology.lab, provider, group, lab.paths.runs, done, notes, cut_short=True)
                say(f"{scenario.name} {number}/{repeat}: {describe_run(verdict)}")
                done[scenario.name].append(verdict)
    return _report(lab.topology.lab, provider, group, lab.paths.runs, done, notes)


def _series_file(runs: Path, group: str) -> Path:
    """What a series was asked for: its scenarios and repeats, so that ``--resume`` plays those and no others."""
    return runs / f"{group}-series.json"


def _recall_series(runs: Path, group: str, scenarios: Sequence[str], repeat: int) -> tuple[Sequence[str], int]:
    """The scenarios and repeats of a series that is gone on with; those given now go over them."""
    try:
        asked = json.loads(_series_file(runs, group).read_text(encoding="utf-8"))
        return scenarios or tuple(asked["scenarios"]), repeat if repeat > 1 else int(asked["repeat"])
    except (OSError, ValueError, KeyError, TypeError):
        return scenarios, repeat


def judge(where: Path) -> FailoverReport:
    """Judge stored runs again, from their histories alone. ``where`` is one run's directory, or a path that such
    directories begin with (``…/runs/20260101T120000`` takes the whole series). Raises ``LabError`` if there is none."""
    directories = [where] if (where / HISTORY).is_file() else find_runs(where.parent, where.name)
    if not directories:
        raise LabError(
            f"{where}: no run is stored there (a run is a directory with {HISTORY})", f"see `ls {where.parent}`"
        )
    done: dict[str, list[RunVerdict]] = {}
    lab = provider = "unknown"
    for directory in directories:
        history = load_history(directory / HISTORY)
        verdict = judge_run(history, directory.name)
        done.setdefault(verdict.scenario, []).append(verdict)
        if history.header is not None:
            lab = str(history.header.fields.get("lab", lab))
            provider = str(history.header.fields.get("provider", provider))
    return _report(lab, provider, where.name, directories[0].parent, done, [])


def find_runs(runs: Path, prefix: str) -> list[Path]:
    """The stored runs whose directory's name begins with ``prefix``, in the order in which they were made."""
    if not prefix or not runs.is_dir():
        return []
    found = [path for path in runs.iterdir() if path.name.startswith(prefix) and (path / HISTORY).is_file()]
    return sorted(found, key=lambda path: ((path / HISTORY).stat().st_mtime, path.name))


def describe_run(verdict: RunVerdict) -> str:
    """One line on one run."""
    outage = verdict.outage
    figure = f"{outage.seconds * 1000:.0f} ± {outage.resolution * 1000:.0f} ms, " if outage else ""
    failed = f"{outage.failed} failed, " if outage else ""
    return f"{figure}{failed}{verdict.verdict}" + "".join(f"; {reason}" for reason in verdict.reasons)


def _run_once(lab: Lab, scenario: Scenario, run_dir: Path, stage: Stage, header: Mapping[str, JsonValue]) -> RunVerdict:
    """Play and judge one repeat, or only judge it if it was played to its end already."""
    if not _is_complete(run_dir):
        _set_aside(run_dir)
        run_dir.mkdir(parents=True)
        play_scenario(lab, scenario, run_dir, stage=stage, header=header)
    verdict = judge_run(load_history(run_dir / HISTORY), run_dir.name)
    write_text(run_dir / VERDICT, json.dumps(run_json(verdict), indent=2) + "\n")
    return verdict


def _is_complete(run_dir: Path) -> bool:
    """Whether the run was made and is worth keeping: to its end, not broken off, and with a fault in it."""
    if not (run_dir / HISTORY).is_file():
        return False
    history = load_history(run_dir / HISTORY)
    ended, broken_off = history.first("run-end"), history.first("interrupted")
    return ended is not None and broken_off is None and history.first("inject-end") is not None


def _set_aside(run_dir: Path) -> None:
    """Keep what a broken-off run left, under a name that no series claims."""
    if not run_dir.exists():
        return
    number = 1
    while (aside := run_dir.with_name(f"broken-off-{number}-{run_dir.name}")).exists():
        number += 1
    run_dir.rename(aside)


def _report(
    lab: str,
    provider: str,
    group: str,
    runs: Path,
    done: Mapping[str, Sequence[RunVerdict]],
    notes: Sequence[str],
    cut_short: bool = False,
) -> FailoverReport:
    scenarios = tuple(judge_all(name, verdicts) for name, verdicts in done.items() if verdicts)
    return FailoverReport(lab, provider, group, str(runs), scenarios, tuple(notes), cut_short)

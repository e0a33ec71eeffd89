"""The report: fits one screen, and says what matters."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from rackbox.measures import FIGURES
from rackbox.readback import WriteAudit
from rackbox.repertoire import list_scenarios, render_scenarios
from rackbox.report import FailoverReport, render_report, report_json
from rackbox.verdict import RunVerdict, judge_all, judge_run
from tests.fakes import default_topology
from tests.stories import full_story
from tests.unit.test_verdict import changing, judged, story


def report_of(*runs: RunVerdict, **changes: object) -> FailoverReport:
    scenario = judge_all("haproxy-killed", runs)
    return FailoverReport("default", "lxc", "20260101T000000", "/runs", (scenario,), **changes)  # type: ignore[arg-type]


def printed(report: FailoverReport) -> str:
    stream = io.StringIO()
    Console(file=stream, width=120).print(render_report(report))
    return stream.getvalue()


def test_a_held_run_says_it_all() -> None:
    text = printed(report_of(judged(story())))
    assert "verdict: held" in text
    assert "floating IP lb1 → lb2" in text
    assert "█" in text
    assert "/runs" in text


def test_reasons_and_notes_are_shown() -> None:
    text = printed(report_of(judged(changing("bite", bitten=False)(story())), notes=("x left out",)))
    assert "the fault was not seen to bite" in text
    assert "note: x left out" in text
    assert "verdict: unknown" in text


def test_writes_that_were_read_back_are_told() -> None:
    runs = [replace(judged(story()), writes=WriteAudit(10, lost_count=lost)) for lost in (0, 1)]
    assert "writes: 20 acknowledged and read back afterwards, 1 lost, 0 twice" in printed(report_of(*runs))
    assert "writes:" not in printed(report_of(judged(story())))


@pytest.mark.parametrize("outage", [0.3, 0.9])
@pytest.mark.parametrize("repeats", [10, 40])
def test_a_long_series_fits_one_screen(outage: float, repeats: int) -> None:
    text = printed(report_of(*[judged(story(outage))] * repeats))
    assert len(text.splitlines()) <= 30
    if outage > 0.5:
        assert "outage 900 ms; budget 500 ms" in text


def test_a_catalogue_of_scenarios_fits_one_screen() -> None:
    runs = [judged(story(outage, scenario=f"scenario-{n}")) for n, outage in enumerate([0.3, 0.9] * 12)]
    scenarios = tuple(judge_all(run.scenario, [run]) for run in runs)
    text = printed(FailoverReport("default", "lxc", "g", "/runs", scenarios))
    assert len(text.splitlines()) < 50
    assert text.count("scenario-1: ") == 1


def test_the_figures_of_a_run_with_everything_are_on_the_screen() -> None:
    runs = [judge_run(full_story(0.45, split=0.3), "a"), judge_run(full_story(0.9), "b")]
    text = printed(report_of(*runs))
    assert "noticed after 190" in text
    assert re.search(r"│ +300 │ over budget", text)
    assert "two machines held the floating IP for 300 ms" in text


@pytest.mark.parametrize(("outage", "code"), [(0.3, 0), (0.9, 1)])
def test_the_exit_code_is_the_verdicts(outage: float, code: int) -> None:
    assert report_of(judged(story(outage))).exit_code == code


def test_what_was_cut_short_never_passes() -> None:
    assert report_of(judged(story()), cut_short=True).exit_code == 2
    assert FailoverReport("l", "p", "g", "r", ()).exit_code == 2


def test_the_json_document_holds_the_documented_keys() -> None:
    document = json.loads(json.dumps(report_json(report_of(judged(story()), judged([])))))
    assert set(document) == {
        "schema",
        "lab",
        "provider",
        "group",
        "runs",
        "verdict",
        "cut_short",
        "notes",
        "scenarios",
    }
    (scenario,) = document["scenarios"]
    assert set(scenario) == {
        "name",
        "verdict",
        "repeat",
        "budget_ms",
        "outage_ms",
        "resolution_ms",
        "failed_requests",
        "slow_requests",
        "figures",
        "runs",
    }
    assert set(scenario["outage_ms"]) == {"p50", "p95", "max"}
    held, empty = scenario["runs"]
    assert held["outage_ms"] == pytest.approx(300, abs=25)
    assert held["holder"] == {"before": "lb1", "after": "lb2"}
    assert empty["outage_ms"] is None
    assert set(held["figures"]) == set(FIGURES)
    assert set(held["figures"]["failed"]) == {"value", "resolution_ms", "detail"}
    assert set(scenario["figures"]["failed"]) == {"count", "p50", "p95", "max", "resolution_ms"}
    assert empty["figures"] == {}


def test_the_list_is_a_table() -> None:
    stream = io.StringIO()
    Console(file=stream, width=140).print(render_scenarios(list_scenarios(default_topology())))
    assert "haproxy-killed" in stream.getvalue()
    assert " 500ms " in stream.getvalue()

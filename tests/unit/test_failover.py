"""Scenario → history → verdict on a lab made of nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rackbox.errors import CommandFailed, LabError
from rackbox.failover import failover_test, judge, list_scenarios
from rackbox.recorder import load_history
from rackbox.repertoire import find_obstacle
from rackbox.report import FailoverReport, report_json
from rackbox.scenarios import SCENARIOS
from rackbox.verdict import RunVerdict
from tests.fakes import FakeLab, default_topology

POSSIBLE = [name for name, scenario in SCENARIOS.items() if not find_obstacle(default_topology(), scenario)]
"""What the default lab, with its stack, can play."""


@pytest.fixture
def lab(tmp_path: Path) -> FakeLab:
    return FakeLab(tmp_path)


def play(lab: FakeLab, *names: str, repeat: int = 1, resume: str | None = None) -> FailoverReport:
    return failover_test(lab, names, repeat, stage=lab.stage(), provider="fake", resume=resume)


def only_run(report: FailoverReport) -> RunVerdict:
    (scenario,) = report.scenarios
    (run,) = scenario.runs
    return run


def run_dirs(lab: FakeLab) -> list[Path]:
    return sorted(path for path in lab.paths.runs.iterdir() if path.is_dir())


def test_a_kill_that_is_mended_in_time_is_held(lab: FakeLab) -> None:
    report = play(lab, "haproxy-killed")
    run = only_run(report)
    assert (report.verdict, report.exit_code, run.reasons) == ("held", 0, ())
    assert run.outage is not None
    assert run.outage.seconds == pytest.approx(0.2, abs=run.outage.resolution)
    assert run.machines == ("lb1",)
    assert (run.holder_before, run.holder_after) == ("lb1", "lb1")
    assert run.writes is not None
    assert run.writes.acknowledged == 100, "of two probes that write"
    assert lab.all_well


def test_a_slow_takeover_is_over_budget(lab: FakeLab) -> None:
    lab.takeover = 3.0
    report = play(lab, "holder-powered-off")
    run = only_run(report)
    assert (report.verdict, report.exit_code) == ("over budget", 1)
    assert "; budget " in run.reasons[0]
    assert (run.holder_before, run.holder_after) == ("lb1", "lb2")
    assert lab.all_well


def test_the_etcd_leader_is_found_and_lost(lab: FakeLab) -> None:
    lab.takeover = 1.0
    report = play(lab, "etcd-leader-powered-off")
    assert only_run(report).machines == ("master2",)
    assert report.verdict == "held"


def test_all_scenarios_run_when_none_is_named(lab: FakeLab) -> None:
    report = play(lab)
    assert [scenario.scenario for scenario in report.scenarios] == POSSIBLE
    left_out = [note.split()[0] for note in report.notes if "left out" in note]
    assert left_out == [name for name in SCENARIOS if name not in POSSIBLE]
    assert not report.cut_short


def test_a_fault_that_causes_no_failure_is_held_by_its_own_evidence(lab: FakeLab) -> None:
    lab.takeover = 0.0
    run = only_run(play(lab, "haproxy-killed"))
    assert run.verdict == "held"
    assert run.outage is not None
    assert (run.outage.seconds, run.outage.failed) == (0.0, 0)


def _bites_not(lab: FakeLab) -> None:
    lab.bites = False


def _splits(lab: FakeLab) -> None:
    lab.after_inject = lambda lab: setattr(lab, "holders", ["lb1", "lb2"])


def _loses_the_address(lab: FakeLab) -> None:
    lab.after_inject = lambda lab: setattr(lab, "holders", [])


def _starves(lab: FakeLab) -> None:
    lab.after_inject = lambda lab: lab.starved.append((lab.clock() + 0.5, lab.clock() + 0.9))


def _cannot_inject(lab: FakeLab) -> None:
    lab.raises["inject"] = CommandFailed("systemctl kill: exit 1")


def _cannot_heal(lab: FakeLab) -> None:
    lab.after_inject = lambda lab: lab.raises_always.update(heal=CommandFailed("power_on: exit 1"))


def _stays_ill(lab: FakeLab) -> None:
    lab.after_inject = lambda lab: setattr(lab, "healthy_error", "lb1: no haproxy")


def _audits_not(lab: FakeLab) -> None:
    lab.audits = False


UNKNOWN = {
    "the fault was not seen to bite": _bites_not,
    "holders of the floating IP after recovery: lb1, lb2": _splits,
    "holders of the floating IP after recovery: none": _loses_the_address,
    "etcd-read made no attempt for 4": _starves,
    "test: systemctl kill: exit 1": _cannot_inject,
    "heal: power_on: exit 1": _cannot_heal,
    "healthy again: lb1: no haproxy": _stays_ill,
    "etcd-write: writes were not read back": _audits_not,
}


@pytest.mark.parametrize("reason", UNKNOWN)
def test_what_proves_nothing_is_unknown(lab: FakeLab, reason: str) -> None:
    UNKNOWN[reason](lab)
    report = play(lab, "haproxy-killed")
    run = only_run(report)
    assert (report.verdict, report.exit_code) == ("unknown", 2)
    assert any(text.startswith(reason) for text in run.reasons), run.reasons
    assert not lab.clock.on_tick


def test_a_lost_write_is_never_held(lab: FakeLab) -> None:
    lab.lost = ["/rackbox/probe/x/00000007"]
    run = only_run(play(lab, "haproxy-killed"))
    assert run.verdict == "over budget"
    assert run.reasons == ("acknowledged writes lost: 1 of 50",)


def test_a_second_outage_after_healing_is_told(lab: FakeLab) -> None:
    def flap(lab: FakeLab) -> None:
        if "inject" in lab.moments:
            lab.outages.append((lab.clock() + 0.1, lab.clock() + 0.2))

    lab.after_heal = flap
    run = only_run(play(lab, "haproxy-killed"))
    assert run.verdict == "held"
    assert any("after healing began" in note for note in run.notes)


def test_never_good_again_is_over_a_budget_that_was_outlasted(lab: FakeLab) -> None:
    lab.takeover = 1e9
    run = only_run(play(lab, "haproxy-killed"))
    assert run.verdict == "over budget"
    assert "never good again" in run.reasons[0]
    assert lab.all_well


def test_no_good_probe_before_the_fault(lab: FakeLab) -> None:
    lab.outages.append((0.0, 1e9))
    report = play(lab, "haproxy-killed")
    run = only_run(report)
    assert report.verdict == "unknown"
    assert "the probes before the fault: not within" in run.reasons[0]
    assert "inject" not in lab.moments


def test_a_probe_that_dies_ends_the_wait_at_once(lab: FakeLab) -> None:
    lab.probe_dies = "probe etcd-read ended with 1"
    begun = lab.clock()
    run = only_run(play(lab, "haproxy-killed"))
    assert run.verdict == "unknown"
    assert lab.clock() - begun < 3.0


# --- series


def test_repeats_give_percentiles_and_a_directory_each(lab: FakeLab) -> None:
    report = play(lab, "haproxy-killed", repeat=3)
    (scenario,) = report.scenarios
    assert len(scenario.runs) == 3
    assert scenario.p50 is not None
    names = [path.name for path in run_dirs(lab)]
    assert [name.split("-", 1)[1] for name in names] == [f"haproxy-killed-{n}" for n in (1, 2, 3)]
    assert all((path / "verdict.json").is_file() for path in run_dirs(lab))


def test_judging_again_says_the_same_from_the_history_alone(lab: FakeLab) -> None:
    report = play(lab, "haproxy-killed", repeat=2)
    for path in run_dirs(lab):
        (path / "verdict.json").unlink()
    again = judge(lab.paths.runs / report.group)
    assert again.scenarios == report.scenarios
    assert (again.lab, again.provider) == (report.lab, "fake")
    assert judge(run_dirs(lab)[0]).scenarios[0].runs[0] == report.scenarios[0].runs[0]


def test_a_series_goes_on_where_it_was_broken_off(lab: FakeLab) -> None:
    lab.raises_always["inject"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        play(lab, "haproxy-killed", repeat=2)
    group = run_dirs(lab)[0].name.split("-")[0]
    lab.raises_always.clear()
    lab.moments.clear()
    first = play(lab, "haproxy-killed", repeat=2, resume=group)
    assert first.verdict == "held"
    lab.moments.clear()
    second = play(lab, "haproxy-killed", repeat=2, resume=group)
    assert second.scenarios == first.scenarios
    assert lab.moments == []
    assert len([path for path in run_dirs(lab) if path.name.startswith("broken-off")]) == 1


def test_a_lab_that_falls_ill_cuts_the_series_short(lab: FakeLab) -> None:
    def spoil(lab: FakeLab) -> None:
        if lab.moments.count("inject") == 2:
            lab.healthy_error = "lb2: not quorate"

    lab.after_heal = spoil
    report = play(lab, "haproxy-killed", repeat=5)
    assert report.cut_short
    assert report.verdict == "unknown"
    assert len(report.scenarios[0].runs) == 2
    assert "lb2: not quorate" in report.notes[-1]


def test_a_lab_that_is_ill_from_the_start_is_not_touched(lab: FakeLab) -> None:
    lab.healthy_error = "lb2: not quorate"
    with pytest.raises(LabError, match="not quorate"):
        play(lab, "haproxy-killed")
    assert "inject" not in lab.moments


def test_what_is_left_behind_is_healed_first(lab: FakeLab) -> None:
    lab.machines["lb2"].running = False
    assert play(lab, "holder-powered-off").verdict == "held"


# --- bad input


BAD = [
    (("haproxy-kiled",), 1, "scenario haproxy-kiled: not known", "did you mean haproxy-killed"),
    (("",), 1, "scenario : not known", "all: haproxy-killed"),
    (("haproxy-killed",), 0, "--repeat: must be from 1 to 1000; got 0", ""),
    (("haproxy-killed",), -3, "--repeat: must be from 1 to 1000; got -3", ""),
    (("haproxy-killed",), 1001, "--repeat: must be from 1 to 1000; got 1001", ""),
]


@pytest.mark.parametrize(("names", "repeat", "message", "hint"), BAD)
def test_bad_input(lab: FakeLab, names: tuple[str, ...], repeat: int, message: str, hint: str) -> None:
    with pytest.raises(LabError) as caught:
        play(lab, *names, repeat=repeat)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 3
    assert not lab.paths.runs.exists()
    assert lab.moments == []


def test_a_series_goes_on_with_what_it_was_asked_for(lab: FakeLab) -> None:
    """Going on with one scenario's series must not break what nobody asked to break."""
    group = play(lab, "haproxy-killed", repeat=2).group
    again = play(lab, resume=group)
    assert [(scenario.scenario, len(scenario.runs)) for scenario in again.scenarios] == [("haproxy-killed", 2)]


def test_a_series_that_does_not_exist_cannot_be_resumed(lab: FakeLab) -> None:
    with pytest.raises(LabError, match="no runs of 2000"):
        play(lab, "haproxy-killed", resume="20000101T000000")


@pytest.mark.parametrize("name", ["nowhere", "", "nowhere/at/all"])
def test_judging_a_run_that_does_not_exist(tmp_path: Path, name: str) -> None:
    with pytest.raises(LabError, match="no run is stored there"):
        judge(tmp_path / name)


@pytest.mark.parametrize("text", ["", "\n\n", "not json\n", '{"t":1}\n', "\x00\x00\x00"])
def test_judging_a_history_that_holds_nothing_is_unknown(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.jsonl").write_text(text)
    report = judge(tmp_path)
    assert report.exit_code == 2
    assert only_run(report).reasons[0] == "history has no header"


def test_a_damaged_line_makes_a_good_run_unknown(lab: FakeLab) -> None:
    play(lab, "haproxy-killed")
    path = run_dirs(lab)[0] / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[40] = lines[40][:30] + "\n"
    path.write_text("".join(lines))
    run = only_run(judge(path.parent))
    assert run.verdict == "unknown"
    assert run.reasons[0].startswith("history is damaged: line 41")


def test_a_cut_off_last_line_harms_nothing_but_the_end(lab: FakeLab) -> None:
    play(lab, "haproxy-killed")
    path = run_dirs(lab)[0] / "history.jsonl"
    path.write_text(path.read_text()[:-10])
    assert load_history(path).truncated
    assert only_run(judge(path.parent)).reasons == ("the run did not come to its end",)


# --- lists and documents


def test_the_list_says_what_a_lab_cannot_play() -> None:
    rows = {row["name"]: row for row in list_scenarios(default_topology())}
    assert set(rows) == set(SCENARIOS)
    assert rows["haproxy-killed"]["budget_ms"] == 500
    assert [name for name, row in rows.items() if not row["cannot"]] == POSSIBLE
    assert list_scenarios()[0]["budget_ms"] is None


def test_the_json_document_is_json_and_whole(lab: FakeLab) -> None:
    report = play(lab, "haproxy-killed", "holder-powered-off")
    document = json.loads(json.dumps(report_json(report)))
    assert document["schema"] == 1
    assert document["verdict"] == "held"
    assert [scenario["name"] for scenario in document["scenarios"]] == ["haproxy-killed", "holder-powered-off"]
    (run,) = document["scenarios"][0]["runs"]
    assert run["probes"]["etcd-read"]["failed"] == run["probes"]["etcd-read"]["windows"][0]["failed"]

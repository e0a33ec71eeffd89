"""The player: what it writes, what it looks for first, what an end of any kind leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rackbox.audits import audit_script, find_problems, find_traces
from rackbox.errors import LabError
from rackbox.failover import failover_test
from rackbox.faults import base, rebooted
from rackbox.history import History
from rackbox.marks import clear_mark, mark_fault, read_mark
from rackbox.outage import baseline
from rackbox.recorder import load_history
from rackbox.repertoire import find_stacks, needs_cluster
from rackbox.scenarios import SCENARIOS
from tests.fakes import FakeLab, cluster_topology, with_stack


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    return make_lab(tmp_path, monkeypatch)


def make_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ha: str = "pacemaker", cluster: bool = False) -> FakeLab:
    monkeypatch.setattr(base, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(rebooted, "_GONE_SECONDS", 0.0)
    lab = FakeLab(tmp_path, cluster_topology() if cluster else with_stack(ha))
    lab.takeover = 0.0
    return lab


def play(lab: FakeLab, name: str) -> History:
    failover_test(lab, [name], stage=lab.stage())
    return newest(lab)


def newest(lab: FakeLab) -> History:
    runs = [path for path in lab.paths.runs.iterdir() if path.is_dir()]
    return load_history(max(runs, key=lambda path: path.stat().st_mtime_ns) / "history.jsonl")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_plays_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stacks = find_stacks(SCENARIOS[name])
    cluster = needs_cluster(SCENARIOS[name])
    lab = make_lab(tmp_path, monkeypatch, stacks[0] if stacks else "pacemaker", cluster)
    history = play(lab, name)
    events = [record.event for record in history.records if record.event != "attempt"]
    assert events[-1] == "run-end"
    for event in ("holders", "good-before", "target", "bite", "good-again", "heal-end", "healthy-again", "redundant"):
        assert event in events, event
    assert not history.events("error")
    bite, audit = history.last("bite"), history.last("audit")
    assert bite is not None
    assert bite.flag("bitten")
    assert audit is not None
    assert (audit.text("phase"), audit.texts("problems")) == ("healed", ())
    assert lab.all_well
    assert read_mark(lab.paths) is None


def test_power_and_redundancy_are_written(lab: FakeLab) -> None:
    history = play(lab, "holder-powered-off")
    power = [(record.text("machine"), record.flag("on")) for record in history.events("power", "fault")]
    assert power == [("lb1", False), ("lb1", True)]
    (redundant,) = history.events("redundant")
    healed = history.last("heal-end")
    assert healed is not None
    assert redundant.t > healed.t


def test_what_mends_itself_is_redundant_before_it_is_healed(lab: FakeLab) -> None:
    history = play(lab, "haproxy-killed")
    redundant, healing = history.first("redundant"), history.first("heal-start")
    assert redundant is not None
    assert healing is not None
    assert history.records.index(redundant) < history.records.index(healing)


def test_an_outage_that_lasts_ends_with_healing(lab: FakeLab) -> None:
    lab.after_inject = lambda lab: lab.outages.append((lab.clock(), lab.clock() + 2.3))
    history = play(lab, "holder-cut-off-from-client")
    again, healed = history.first("good-again"), history.first("heal-end")
    assert again is not None
    assert healed is not None
    assert again.t > healed.t
    assert not history.events("not-good-again")


def test_a_fault_waits_for_calm_also_after_its_preparations(lab: FakeLab) -> None:
    """A request that hangs is known to have failed only at its end."""
    lab.fail_seconds = 0.9
    lab.on_moment["evidence"] = lambda lab: lab.outages.append((lab.clock(), lab.clock() + 0.3))
    history = play(lab, "haproxy-killed")
    injected = history.last("inject-start")
    assert injected is not None
    before = [attempt for attempt in history.attempts("etcd-read") if attempt.start < injected.t]
    assert not all(attempt.good for attempt in before)
    assert len(baseline(before, injected.t, 1.0)) > 10
    assert all(attempt.good for attempt in baseline(before, injected.t, 1.0))


def test_no_fault_hits_who_is_no_target_any_more(lab: FakeLab) -> None:
    def move(lab: FakeLab) -> None:
        lab.outages.append((lab.clock(), lab.clock() + 0.3))
        lab.holders = ["lb2"]

    lab.on_moment["evidence"] = move
    history = play(lab, "haproxy-killed")
    (error,) = history.events("error")
    assert "not lb1 any more" in error.text("message")
    assert not history.events("inject-start")
    assert lab.all_well


def test_probes_do_not_end_in_the_middle_of_an_outage(lab: FakeLab) -> None:
    """One that began after healing, say: nobody could tell how long it was."""
    lab.after_heal = lambda lab: lab.outages.append((lab.clock(), lab.clock() + 4.0))
    attempts = play(lab, "haproxy-killed").attempts("etcd-read")
    assert not all(attempt.good for attempt in attempts)
    assert attempts[-1].good


def test_a_silent_machine_is_told_apart(lab: FakeLab) -> None:
    history = play(lab, "holder-frozen")
    told = next(record for record in history.events("holders") if record.text("phase") == "recovered")
    assert (told.texts("holders"), told.texts("silent")) == ((), ("lb1",))


# --- what a killed test left


def test_a_fault_that_was_noted_is_healed_first(lab: FakeLab) -> None:
    lab.machine("master1").broken.add("etcd-hung")
    mark_fault(lab.paths, "etcd-hung", ["master1", "gone"])
    play(lab, "haproxy-killed")
    assert lab.all_well
    assert lab.moments[0] == "heal"


def test_what_can_be_seen_on_a_machine_is_healed_though_nobody_noted_it(lab: FakeLab) -> None:
    lab.machine("lb2").broken.add("packet-loss")
    lab.machine("gluster2").frozen = True
    play(lab, "haproxy-killed")
    assert lab.all_well


def test_healing_everything_starts_nothing_that_does_not_belong_there(lab: FakeLab) -> None:
    lab.machine("lb2").broken.add("packet-loss")
    play(lab, "haproxy-killed")
    sent = "\n".join(script for script in lab.machine("lb2").calls if script.startswith("# heal"))
    assert "etcd.service" not in sent
    assert "keepalived.service" not in sent


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fault": "x"}', '{"fault": "x", "machines": 3}'])
def test_a_mark_that_cannot_be_read_is_none(lab: FakeLab, text: str) -> None:
    lab.paths.root.mkdir()
    (lab.paths.root / "fault.json").write_text(text)
    assert read_mark(lab.paths) is None
    play(lab, "haproxy-killed")
    assert not (lab.paths.root / "fault.json").exists()


def test_a_mark_is_written_before_anything_is_broken(lab: FakeLab) -> None:
    seen: list[object] = []
    lab.after_inject = lambda lab: seen.append(json.loads((lab.paths.root / "fault.json").read_text()))
    play(lab, "haproxy-killed")
    assert seen == [{"fault": "haproxy-killed", "machines": ["lb1"]}]
    clear_mark(lab.paths)


def test_where_no_mark_can_be_written_nothing_is_broken(lab: FakeLab) -> None:
    lab.paths.root.write_text("in the way")
    history = play(lab, "haproxy-killed")
    assert [record.text("stage") for record in history.events("error")] == ["test"]
    assert "inject" not in lab.moments


# --- audits


def test_an_audit_finds_what_was_left(lab: FakeLab) -> None:
    assert find_problems(lab, 1.0) == []
    lab.machine("lb2").broken.add("packet-loss")
    lab.machine("master1").running = False
    lab.machine("worker1").frozen = True
    lab.holders = ["lb1", "lb2"]
    lab.healthy_error = "master1: does not answer"
    problems = find_problems(lab, 1.0)
    assert problems == [
        "master1: does not answer",
        "holders of the floating IP: lb1, lb2; must be one",
        "lb2: left by packet-loss",
        "master1: has no power",
        "worker1: is frozen",
    ]


def test_what_does_not_answer_is_a_problem_not_an_error(lab: FakeLab) -> None:
    lab.raises["audit"] = LabError("lb1: no route\nto host")
    assert find_traces(lab, lab.topology.by_role("lb")[:1]) == ["lb1: could not be looked at: lb1: no route"]


def test_an_audit_asks_each_role_for_its_own(lab: FakeLab) -> None:
    balancer, master = (audit_script(lab.topology.by_role(role)[0]) for role in ("lb", "master"))
    traces = ("rackbox_fault", "RACKBOX_FAULT", "rackbox-delayer", "rackbox-full", "stopped process")
    assert all(trace in balancer and trace in master for trace in traces)
    assert "cli-" in balancer
    assert "cli-" not in master


def test_an_interrupt_is_audited(lab: FakeLab) -> None:
    lab.raises["inject"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        play(lab, "haproxy-killed")
    audit = newest(lab).last("audit")
    assert audit is not None
    assert audit.texts("problems") == ()


def test_a_mark_outlives_a_healing_that_failed(lab: FakeLab) -> None:
    lab.after_inject = lambda lab: lab.raises_always.update(heal=LabError("exit 1"))
    history = play(lab, "haproxy-killed")
    assert [record.text("stage") for record in history.events("error")] == ["heal"]
    mark = read_mark(lab.paths)
    assert mark is not None
    assert mark.fault == "haproxy-killed"

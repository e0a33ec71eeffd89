"""Faults and targets, against machines that only pretend: what they send, whom they mean, what proves the bite."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rackbox.errors import LabError, MachineError
from rackbox.faults import FAULTS, Site
from rackbox.probes import PROBES
from rackbox.repertoire import choose_scenarios
from rackbox.run import Result
from rackbox.scenarios import SCENARIOS
from rackbox.targets import (
    STATUS,
    TargetUnclear,
    find_holders,
    list_candidates,
    resolve_target,
    target_names,
)
from tests.fakes import FakeLab, FakeMachine


@pytest.fixture
def lab(tmp_path: Path) -> FakeLab:
    return FakeLab(tmp_path)


def test_killing_haproxy_sends_one_kill_to_the_whole_unit(lab: FakeLab) -> None:
    site = Site(lab, ("lb1",))
    FAULTS["haproxy-killed"].inject(site)
    assert lab.machine("lb1").calls == ["systemctl kill --kill-whom=all --signal=SIGKILL haproxy.service"]


BITES = [
    ("haproxy-killed", {"lb1": "10"}, {"lb1": "11"}, True),
    ("haproxy-killed", {"lb1": "10"}, {"lb1": "0"}, True),
    ("haproxy-killed", {"lb1": "10"}, {"lb1": "10"}, False),
    ("haproxy-killed", {"lb1": "0"}, {"lb1": "11"}, False),
    ("haproxy-killed", {"lb1": ""}, {"lb1": "11"}, False),
    ("haproxy-killed", {"lb1": "1", "lb2": "2"}, {"lb1": "3", "lb2": "2"}, False),
    ("haproxy-killed", {}, {}, False),
    ("powered-off", {"lb1": True}, {"lb1": False}, True),
    ("powered-off", {"lb1": True}, {"lb1": True}, False),
    ("powered-off", {"lb1": False}, {"lb1": False}, False),
    ("powered-off", {"lb1": True}, {}, False),
    ("powered-off", {}, {}, False),
]


@pytest.mark.parametrize(("name", "before", "after", "bitten"), BITES)
def test_what_proves_a_bite(name: str, before: dict[str, str], after: dict[str, str], bitten: bool) -> None:
    assert FAULTS[name].bitten(before, after) is bitten


@pytest.mark.parametrize("name", FAULTS)
def test_healing_is_idempotent_and_harmless(lab: FakeLab, name: str) -> None:
    site = Site(lab, ("lb1",))
    fault = FAULTS[name]
    fault.heal(site)
    fault.setup(site)
    before = fault.evidence(site)
    fault.inject(site)
    assert fault.bitten(before, fault.evidence(site)) is (name != "haproxy-killed" or lab.bites)
    for _ in range(2):
        fault.heal(site)
        fault.teardown(site)
    assert lab.machine("lb1").running


def test_healing_haproxy_leaves_a_machine_without_power_alone(lab: FakeLab) -> None:
    lab.machine("lb1").running = False
    FAULTS["haproxy-killed"].heal(Site(lab, ("lb1",)))
    assert lab.machine("lb1").calls == []


# --- targets


TARGETS = [
    ("vip-holder", "lb1"),
    ("vip-standby", "lb2"),
    ("etcd-leader", "master2"),
    ("etcd-follower", "master1"),
    ("any-worker", "worker1"),
    ("any-gluster", "gluster1"),
    ("gluster3", "gluster3"),
]


@pytest.mark.parametrize(("target", "machine"), TARGETS)
def test_whom_a_target_means(lab: FakeLab, target: str, machine: str) -> None:
    assert resolve_target(lab, target) == (machine,)
    assert machine in list_candidates(lab.topology, target)


@pytest.mark.parametrize("target", ["vip-holder", "vip-standby"])
@pytest.mark.parametrize(("holders", "words"), [([], "it is of none"), (["lb1", "lb2"], "it is of lb1, lb2")])
def test_a_part_played_by_none_or_two_is_unclear(lab: FakeLab, target: str, holders: list[str], words: str) -> None:
    lab.holders = holders
    with pytest.raises(TargetUnclear, match=words):
        resolve_target(lab, target)


def test_a_part_with_nobody_beside_it_is_unclear(lab: FakeLab) -> None:
    alone = tuple(node for node in lab.topology.nodes if node.name not in ("master1", "master3"))
    lab.topology = replace(lab.topology, nodes=alone)
    with pytest.raises(TargetUnclear, match="master2 is the only machine of its role"):
        resolve_target(lab, "etcd-follower")


def test_a_target_that_means_nothing(lab: FakeLab) -> None:
    with pytest.raises(LabError, match="target mars: no machine") as caught:
        resolve_target(lab, "mars")
    assert all(name in caught.value.hint for name in (*target_names(), "lb1"))


def test_a_machine_that_does_not_answer_is_an_error_not_a_guess(lab: FakeLab) -> None:
    lab.machine("lb2").running = False
    with pytest.raises(LabError, match="lb2"):
        resolve_target(lab, "vip-holder")


@pytest.mark.parametrize("output", ["", "{}", "[]", "nonsense", '{"role": 3}', '{"role": null}'])
def test_a_status_that_is_none(lab: FakeLab, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    def run(machine: FakeMachine, script: str, *, timeout: float = 10.0, check: bool = True) -> Result:
        assert script == STATUS
        return Result((), 0, output, "", 0.0)

    monkeypatch.setattr(FakeMachine, "run", run)
    with pytest.raises(MachineError, match=STATUS):
        resolve_target(lab, "vip-holder")


def test_a_balancer_without_power_holds_nothing(lab: FakeLab) -> None:
    lab.machine("lb1").running = False
    lab.holders = ["lb2"]
    assert find_holders(lab) == ("lb2",)
    assert json.dumps(lab.status(lab.machine("lb2").node))


# --- registries


def test_every_scenario_is_made_of_known_parts(lab: FakeLab) -> None:
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name
        assert scenario.fault in FAULTS
        assert all(probe in PROBES for probe in scenario.probes)
        assert list_candidates(lab.topology, scenario.target)
        assert scenario.settle > lab.topology.failover.probe_timeout_ms / 1000
    assert all(fault.name == name and fault.summary for name, fault in FAULTS.items())


def test_a_lab_too_small_for_a_scenario_says_so(lab: FakeLab) -> None:
    small = replace(lab.topology, nodes=tuple(n for n in lab.topology.nodes if n.name not in ("master2", "master3")))
    with pytest.raises(LabError, match="needs 3 machines of role master; the lab has 1"):
        choose_scenarios(small, ["etcd-leader-powered-off"], 1)
    chosen, notes = choose_scenarios(small, [], 1)
    assert [scenario.name for scenario in chosen] == ["haproxy-killed", "holder-powered-off"]
    assert notes == ["etcd-leader-powered-off left out: needs 3 machines of role master; the lab has 1"]


def test_a_scenario_without_a_budget_cannot_be_judged(lab: FakeLab) -> None:
    bare = replace(lab.topology, failover=replace(lab.topology.failover, budgets_ms=()))
    with pytest.raises(LabError, match=r"has no budget; add failover\.budgets\.haproxy-killed"):
        choose_scenarios(bare, ["haproxy-killed"], 1)
    with pytest.raises(LabError, match="no scenario can be run"):
        choose_scenarios(bare, [], 1)

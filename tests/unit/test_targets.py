"""Whom a target means, asked of machines that only pretend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rackbox.errors import LabError, MachineError
from rackbox.run import Result
from rackbox.targets import (
    STATUS,
    TargetUnclear,
    find_holders,
    hear_holders,
    list_candidates,
    resolve_target,
    target_names,
)
from tests.fakes import FakeLab, FakeMachine


@pytest.fixture
def lab(tmp_path: Path) -> FakeLab:
    return FakeLab(tmp_path)


TARGETS = [
    ("vip-holder", "lb1"),
    ("vip-standby", "lb2"),
    ("etcd-leader", "master2"),
    ("etcd-follower", "master1"),
    ("controller-manager-leader", "master3"),
    ("coredns-host", "worker2"),
    ("service-host", "worker1"),
    ("any-master", "master1"),
    ("any-worker", "worker1"),
    ("any-gluster", "gluster1"),
    ("gateways", "gateway"),
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


@pytest.mark.parametrize("said", ["", "master1_x", "worker9"])
def test_a_part_of_the_cluster_that_nobody_plays_is_unclear(lab: FakeLab, said: str) -> None:
    lab.parts["service-host"] = said
    with pytest.raises(TargetUnclear, match=f"must be one of worker1, worker2; got {said or 'nobody'}"):
        resolve_target(lab, "service-host")


def test_another_master_is_asked_when_one_does_not_answer(lab: FakeLab) -> None:
    lab.machines["master1"].running = False
    assert resolve_target(lab, "service-host") == ("worker1",)


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
        resolve_target(lab, "etcd-leader")


def test_a_balancer_without_power_holds_nothing(lab: FakeLab) -> None:
    lab.machine("lb1").running = False
    lab.holders = ["lb2"]
    assert find_holders(lab) == ("lb2",)
    assert json.dumps(lab.status(lab.machine("lb2").node))


def test_a_target_may_mean_several(lab: FakeLab) -> None:
    assert resolve_target(lab, "balancers") == ("lb1", "lb2") == list_candidates(lab.topology, "balancers")


def test_who_holds_while_something_is_broken(lab: FakeLab) -> None:
    assert hear_holders(lab) == (("lb1",), ())
    lab.holders = ["lb1", "lb2"]
    assert hear_holders(lab) == (("lb1", "lb2"), ())
    lab.machine("lb2").frozen = True
    assert hear_holders(lab) == (("lb1",), ("lb2",))
    lab.machine("lb1").running = False
    assert hear_holders(lab) == ((), ("lb2",))

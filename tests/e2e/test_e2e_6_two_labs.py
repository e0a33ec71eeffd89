"""A second lab with the same addresses, first broken while it comes up, then up beside the first, then gone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rackbox.wait import NotYet, wait_for
from tests.e2e.host import Traces, host_traces, left_behind
from tests.e2e.labs import LabUnderTest


@pytest.fixture(scope="module")
def host_with_one_lab(default_lab: LabUnderTest) -> Traces:
    return host_traces()


@pytest.mark.timeout(120, func_only=True)
def test_up_says_which_machine_and_hook_failed_and_another_up_waits_its_turn(
    host_with_one_lab: Traces, second_lab: LabUnderTest
) -> None:
    def break_it(config: dict[str, Any]) -> None:
        config["load_balancer"] = {"stats_port": 22}  # HAProxy cannot have it: sshd does

    second_lab.edit(break_it)
    with second_lab.start("up") as process:
        wait_for("the lock taken", lambda: _is_under_way(second_lab), timeout=20)
        busy = second_lab.up(code=3)
        assert "another command is acting" in busy.stderr
        _, said = process.communicate(timeout=100)
    assert process.returncode == 1, said
    assert "lb1: hook lb/10-start-haproxy.sh failed" in said or "lb2: hook lb/10-start-haproxy.sh failed" in said
    assert "  | " in said
    assert "haproxy" in said.split("  | ", 1)[1]
    assert "--resume" in said


@pytest.mark.timeout(150, func_only=True)
def test_resume_goes_on_once_the_cause_is_gone(second_lab: LabUnderTest) -> None:
    second_lab.edit(lambda config: config.pop("load_balancer", None))
    second_lab.up("--resume")
    assert second_lab.status()["verdict"] == "healthy"


@pytest.mark.timeout(150, func_only=True)
def test_a_machine_that_dies_while_it_comes_up_is_told_at_once(second_lab: LabUnderTest) -> None:
    second_lab.up()
    second_lab.power_off(["master1"])
    with second_lab.start("up") as process:
        wait_for("master1's hooks", lambda: _runs_hooks(second_lab, "master1"), timeout=60, interval=0.05)
        second_lab.power_off(["master1"])
        died = time.monotonic()
        _, said = process.communicate(timeout=100)
    assert process.returncode == 1, said
    assert "master1: " in said
    assert "stopped" in said
    assert time.monotonic() - died < 30
    second_lab.up("--resume")
    assert second_lab.status()["verdict"] == "healthy"


@pytest.mark.timeout(150, func_only=True)
def test_two_labs_with_the_same_addresses_live_side_by_side_and_one_goes_alone(
    host_with_one_lab: Traces, lab: LabUnderTest, second_lab: LabUnderTest
) -> None:
    second_lab.up()
    assert lab.floating_ip == second_lab.floating_ip
    lab.etcd(lab.etcd_url, "put", "/e2e/whose", "the first lab's")
    second_lab.etcd(second_lab.etcd_url, "put", "/e2e/whose", "the second lab's")
    assert lab.etcd(lab.etcd_url, "get", "/e2e/whose").stdout.strip() == "the first lab's"
    assert lab.status()["verdict"] == second_lab.status()["verdict"] == "healthy"
    assert lab.status()["forwards"].keys() == second_lab.status()["forwards"].keys()
    assert not set(lab.status()["forwards"].values()) & set(second_lab.status()["forwards"].values())
    before, name, root = lab.boots(), second_lab.live.topology.lab, second_lab.live.paths.root
    second_lab.down()
    assert left_behind(host_with_one_lab, name) == {}
    assert not root.exists()
    assert lab.boots() == before
    assert lab.status()["verdict"] == "healthy"
    assert "nothing to do" in second_lab.down().stderr


def _is_under_way(lab: LabUnderTest) -> None:
    if not lab.live.provider.is_prepared(lab.live.topology, lab.live.paths):
        raise NotYet("no place yet")


def _runs_hooks(lab: LabUnderTest, name: str) -> None:
    delta = lab.live.paths.machines / name
    if name not in lab.live.provider.running(lab.live.topology, lab.live.paths):
        raise NotYet(f"{delta} is not running")
    if not lab.run(name, "cat /run/rackbox/progress.jsonl || true", check=False).stdout:
        raise NotYet("no progress yet")

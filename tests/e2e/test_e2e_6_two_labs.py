"""A second lab with the same addresses: broken while it comes up, then up beside the first, then gone."""

from __future__ import annotations

import time

import pytest

from rackbox.providers.lxc import volume_dir
from rackbox.wait import NotYet, wait_for
from tests.e2e.host import Traces, host_traces, left_behind
from tests.e2e.labs import LabUnderTest


@pytest.fixture(scope="module")
def host_with_one_lab(default_lab: LabUnderTest) -> Traces:
    return host_traces()


@pytest.mark.timeout(120, func_only=True)
def test_a_machine_that_dies_while_it_comes_up_is_told_at_once_and_another_up_waits_its_turn(
    host_with_one_lab: Traces, second_lab: LabUnderTest
) -> None:
    topology, paths = second_lab.live.topology, second_lab.live.paths
    # A file where etcd wants its directory: the machine stays in that hook until it is there.
    data = volume_dir(paths, topology.node("master1"), "etcd") / "data"
    data.parent.mkdir(parents=True)
    data.touch()
    try:
        with second_lab.start("up") as process:
            wait_for("master1 in etcd's hook", lambda: _runs_etcd_hook(second_lab), timeout=90, interval=0.3)
            busy = second_lab.up(code=3)
            assert "another command is acting" in busy.stderr
            second_lab.power_off(["master1"])
            died = time.monotonic()
            _, said = process.communicate(timeout=60)
    finally:
        data.unlink()  # or the tests below would fail as well
    assert process.returncode == 1, said
    assert time.monotonic() - died < 30
    assert "rackbox: master1: stopped before it was provisioned" in said
    assert "start master/10-start-etcd.sh" in said
    assert "up --resume" in said


@pytest.mark.timeout(200, func_only=True)
def test_a_hook_that_fails_is_told_with_its_last_lines_and_resume_goes_on_once_it_can(second_lab: LabUnderTest) -> None:
    if second_lab.live.state is None:
        second_lab.up()
    second_lab.power_off(["lb1"])
    disk = second_lab.live.paths.machines / "lb1/overlay/delta"
    program = disk / "usr/sbin/haproxy"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\necho the disk has eaten HAProxy\nexit 1\n")
    program.chmod(0o755)
    said = second_lab.up("--resume", code=1).stderr
    assert "rackbox: lb1: hook lb/10-start-haproxy.sh failed\n" in said
    assert "  | the disk has eaten HAProxy\n" in said
    second_lab.power_off(["lb1"])
    program.unlink()
    kept = disk / "kept"
    kept.touch()
    second_lab.up("--resume")
    assert kept.exists()
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
    first, second = lab.status(), second_lab.status()
    assert first["verdict"] == second["verdict"] == "healthy"
    assert first["forwards"].keys() == second["forwards"].keys()
    assert not set(first["forwards"].values()) & set(second["forwards"].values())
    before, name, root = lab.boots(), second_lab.live.topology.lab, second_lab.live.paths.root
    second_lab.down()
    assert left_behind(host_with_one_lab, name) == {}
    assert not root.exists()
    assert lab.boots() == before
    assert lab.status()["verdict"] == "healthy"
    assert "nothing to do" in second_lab.down().stderr


def _runs_etcd_hook(lab: LabUnderTest) -> None:
    """Whether `up` has heard of it, too: its reader is in the machine. Asked past SSH, which is `up`'s."""
    progress = "pgrep --full '[t]ail .*progress.jsonl' >/dev/null && cat /run/rackbox/progress.jsonl"
    said = lab.client(["lxc-attach", "--name", "master1", "--", "sh", "-c", progress], check=False).stdout
    if '"start", "hook": "master/10-start-etcd.sh"' not in said:
        raise NotYet(said or "nothing yet")

"""Machines lose power, programs are killed, and the lab goes on, or comes again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rackbox.scenarios import SCENARIOS
from tests.e2e.host import host_traces
from tests.e2e.labs import LabUnderTest

BRICK = "/srv/brick/shared"
BRICK_SUMS = f"cd {BRICK} && find . -name .glusterfs -prune -o -type f -print0 | sort -z | xargs -0 sha256sum"

# Writes a file every 0.2 s, each to the disk before the next, until the seconds are over; prints how many it wrote and
# the longest that one took, in ms.
WRITER = """
mkdir -p /mnt/shared/written
end=$((SECONDS + {seconds})) number=0 worst=0
while ((SECONDS < end)); do
  began=${{EPOCHREALTIME/./}}
  number=$((number + 1))
  echo "file $number" | dd of=/mnt/shared/written/$number conv=fsync status=none
  took=$(((${{EPOCHREALTIME/./}} - began) / 1000))
  ((took > worst)) && worst=$took
  sleep 0.2
done
echo $number $worst"""


@pytest.mark.timeout(150, func_only=True)
def test_writes_go_on_without_a_gluster_server_and_it_catches_up(lab: LabUnderTest) -> None:
    with ThreadPoolExecutor() as pool:
        writer = pool.submit(lab.run, "worker1", WRITER.format(seconds=12), timeout=60)
        time.sleep(2)
        lab.power_off(["gluster1"])
        try:
            degraded = lab.status(code=1)
            said = writer.result().stdout
        finally:
            lab.live.machine("gluster1").power_on()
    assert "gluster1: does not answer" in degraded["problems"]
    written, worst_ms = (int(word) for word in said.split())
    assert worst_ms < 12_000  # the client gives a silent server up after 5 s (network.ping-timeout)
    assert written > 10
    lab.live.wait_healthy(90)  # nothing left to heal is a part of it
    sums = lab.on_each(lab.names("gluster"), BRICK_SUMS)
    assert sums["gluster1"].count("./written/") == written
    assert len(set(sums.values())) == 1
    assert lab.run("worker2", "ls /mnt/shared/written | wc -l").stdout.strip() == str(written)


@pytest.mark.timeout(180, func_only=True)
def test_after_a_power_cut_of_everything_the_same_lab_comes_up(lab: LabUnderTest) -> None:
    lab.etcd(lab.etcd_url, "put", "/e2e/cut", "kept")
    lab.run("worker1", "echo kept >/mnt/shared/cut && sync /mnt/shared/cut")
    before, addresses = lab.boots(), _addresses(lab)
    lab.power_off(lab.names())
    lab.up()
    after = lab.boots()
    assert all(after[name] != before[name] for name in before)
    assert _addresses(lab) == addresses
    assert lab.etcd(lab.etcd_url, "get", "/e2e/cut").stdout.strip() == "kept"
    assert lab.run("worker2", "cat /mnt/shared/cut").stdout.strip() == "kept"
    for config in lab.live.paths.machines.glob("*/config"):
        assert config.read_text().count("# VAGRANT-BEGIN") == 1, config


@pytest.mark.timeout(120, func_only=True)
def test_a_failover_test_that_is_interrupted_heals_the_lab(lab: LabUnderTest) -> None:
    with lab.start("failover-test", "--scenario", "holder-powered-off") as process:
        _read_until(process, "powered-off on lb")
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    assert not _probes(lab)
    lab.live.wait_healthy(60)
    assert len([name for name, lb in lab.live.read_documents().items() if lb and lb["role"].get("holds_vip")]) == 1


@pytest.mark.timeout(180, func_only=True)
def test_each_scenario_is_measured_and_held(lab: LabUnderTest) -> None:
    result = lab.cli("failover-test", "--json", timeout=170)
    report = json.loads(result.stdout)
    assert report["verdict"] == "held"
    assert [scenario["name"] for scenario in report["scenarios"]] == list(SCENARIOS)
    for scenario in report["scenarios"]:
        (run,) = scenario["runs"]
        assert 0 < run["outage_ms"] < scenario["budget_ms"], run
        assert run["writes"] is None or run["writes"]["lost"] == []
        assert Path(report["runs"], run["run"], "history.jsonl").is_file()
    assert not _probes(lab)
    judged = json.loads(lab.cli("failover-test", "--judge", report["group"], "--json").stdout)
    assert judged["scenarios"] == report["scenarios"]


def _addresses(lab: LabUnderTest) -> dict[str, str]:
    """Every address of every machine, but the floating one, which may be anywhere."""
    found = lab.on_each(lab.names(), "ip -4 -oneline address show scope global | awk '{print $2, $4}' | sort")
    return {name: "\n".join(a for a in said.splitlines() if lab.floating_ip not in a) for name, said in found.items()}


def _probes(lab: LabUnderTest) -> list[str]:
    place = f"rackbox-{lab.live.topology.lab} "
    return [process for process in host_traces()["processes"] if "rackbox.probes" in process and place in process]


def _read_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if wanted in line:
            return
    raise AssertionError(f"ended before {wanted}: {''.join(seen)}")

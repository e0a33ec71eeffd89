"""Machines lose power, and the lab goes on, or comes again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

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
    assert worst_ms < 12_000  # the client gives a dead server up after 3 s (client.tcp-user-timeout)
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


def _addresses(lab: LabUnderTest) -> dict[str, str]:
    """Every address of every machine, but the floating one, which may be anywhere."""
    found = lab.on_each(lab.names(), "ip -4 -oneline address show scope global | awk '{print $2, $4}' | sort")
    return {name: "\n".join(a for a in said.splitlines() if lab.floating_ip not in a) for name, said in found.items()}

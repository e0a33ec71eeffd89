"""Gluster on virtual machines: bricks in thin pools on second disks, a volume that clients write to, and what they were
told is written outlives a power cut of all. One lab for the whole file, emulated where there is no KVM.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from rackbox.errors import CommandFailed, LabError
from tests.e2e.labs import LabUnderTest, derive_lab
from tests.e2e.writing import written_until_power_cut

UP_SECONDS = 1800.0
pytestmark = [pytest.mark.vm, pytest.mark.timeout(2 * UP_SECONDS, func_only=False)]
NETWORKS = {"glus": {"cidr": "192.168.3.0/24"}, "node": {"cidr": "192.168.2.0/24"}}
SERVERS = ("gluster1", "gluster2", "gluster3")
# A file that is there under its name is on the volume's disks. It is the file that is synced after it got its name:
# up to Gluster 11.1 its servers do nothing when a directory is synced (posix_fsyncdir, in xlators/storage/posix).
WRITE = "cd /mnt/shared && echo {number} >part && sync part && mv part kept-{number} && sync kept-{number}"
READ = "cd /mnt/shared && for file in kept-*; do echo ${file#kept-} $(cat $file); done"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    if os.geteuid() != 0:
        pytest.skip("booting machines needs root")
    nodes = {
        "gateway": None,
        "gluster": {"volumes": {"brick": "1G"}},
        "worker": {"count": 1, "cpus": 1, "memory": "768M"},
    }
    changes = {"nodes": nodes, "networks": NETWORKS, "load_balancer": None, "failover": {}}
    file = tmp_path_factory.mktemp("gluster") / "lab.yaml"
    lab = derive_lab("vm-small", f"vg-{os.getpid()}", file, changes)
    try:
        lab.up(timeout=UP_SECONDS)
        yield lab
    finally:
        lab.cli("down", timeout=300)


def status(lab: LabUnderTest) -> dict[str, str]:
    document = json.loads(lab.cli("status", "--json", timeout=200).stdout)
    assert document["verdict"] == "healthy", document
    return {machine["name"]: machine["summary"] for machine in document["machines"]}


def test_bricks_lie_in_thin_pools_and_status_says_how_full_those_are(lab: LabUnderTest) -> None:
    said = status(lab)
    for name in SERVERS:
        assert "brick online, 2 peers, 0 to heal, pool" in said[name]
    tuned = lab.on_each(
        SERVERS,
        "lvs --noheadings -o lv_layout rackbox_brick/brick; findmnt -no FSTYPE,OPTIONS /srv/brick; xfs_info /srv/brick",
        timeout=60,
    )
    for text in tuned.values():
        for figure in ("thin,sparse", "xfs", "noatime", "inode64", "isize=512", "bsize=8192"):
            assert figure in text


def test_what_clients_were_told_is_written_outlives_a_power_cut_of_all(lab: LabUnderTest) -> None:
    def write(number: int) -> bool:
        try:
            lab.run("worker1", WRITE.format(number=number), timeout=30)
        except (LabError, CommandFailed):
            return False
        return True

    acknowledged = written_until_power_cut(lab, write, seconds=180)
    assert len(acknowledged) >= 20
    lab.up(timeout=UP_SECONDS)
    found = lab.run("worker1", READ, timeout=120).stdout.splitlines()
    assert [number for number in acknowledged if f"{number} {number}" not in found] == []


def test_a_brick_is_lost_and_nothing_is(lab: LabUnderTest) -> None:
    """A server without power: its clients go on writing, and its brick is healed when it is back."""
    lab.power_off(["gluster2"])
    for number in range(5):
        lab.run("worker1", f"echo {number} >/mnt/shared/without-{number}", timeout=120)
    lab.up(timeout=UP_SECONDS)
    lab.live.wait_healthy(300)
    said = status(lab)
    for name in SERVERS:  # what gluster2 has missed the others owe it
        assert "0 to heal" in said[name]
    healed = lab.run("gluster2", "cat /srv/brick/*/without-* | xargs", timeout=60).stdout
    assert healed.split() == [str(number) for number in range(5)]

"""Disks of a virtual machine: a volume in a thin pool on one of its own, and both disks growing under a writer. One
machine, the smallest lab there is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.labs import LabUnderTest, derive_lab
from tests.e2e.writing import CHECK, WRITER

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800, func_only=False)]
UP_SECONDS = 900.0
WHERE = "/srv/data"
POOL = "dmsetup status rackbox_data-pool-tpool"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    if os.geteuid() != 0:
        pytest.skip("booting machines needs root")
    file = tmp_path_factory.mktemp("disks") / "lab.yaml"
    data = {"size": "1G", "mount": WHERE, "disk": "2G"}
    changes = {"nodes": {"gateway": {"volumes": {"data": data}}}, "load_balancer": None, "failover": {}}
    lab = derive_lab("vm-small", f"disks-{os.getpid()}", file, changes)
    try:
        lab.up(timeout=UP_SECONDS)
        yield lab
    finally:
        lab.cli("down", timeout=300)


def ask(lab: LabUnderTest, command: str) -> str:
    return lab.live.machine("gateway").run(command, timeout=60).stdout.strip()


def mib(lab: LabUnderTest, path: str) -> int:
    return int(ask(lab, f"df --output=size -BM {path} | tail -1 | tr -dc 0-9"))


def test_a_volume_lies_in_a_thin_pool_on_a_disk_of_its_own(lab: LabUnderTest) -> None:
    report = json.loads(ask(lab, "lvs -a --reportformat json -o lv_name,lv_layout,devices,chunk_size rackbox_data"))
    volumes = {volume["lv_name"]: volume for volume in report["report"][0]["lv"]}
    assert volumes["data"]["lv_layout"] == "thin,sparse"
    assert volumes["pool"]["lv_layout"] == "thin,pool"
    assert volumes["pool"]["chunk_size"].startswith("256")
    assert volumes["[pool_tmeta]"]["devices"].startswith("/dev/vdb")
    options = ask(lab, f"findmnt -no FSTYPE,OPTIONS {WHERE}")
    assert options.startswith("xfs")
    assert {"noatime", "inode64"} <= set(options.split()[1].split(","))
    geometry = ask(lab, f"xfs_info {WHERE}")
    for figure in ("isize=512", "sunit=64", "swidth=64", "bsize=8192"):
        assert figure in geometry


def test_both_disks_and_their_volumes_grow_under_a_writer(lab: LabUnderTest) -> None:
    boot = lab.boots()["gateway"]
    had, pool = mib(lab, WHERE), ask(lab, POOL)
    ask(lab, WRITER.format(where=f"{WHERE}/writer"))
    gateway = {"disk": "40G", "volumes": {"var": "28G", "data": {"size": "3G", "mount": WHERE, "disk": "4G"}}}
    lab.edit(lambda config: config["nodes"].update(gateway=gateway))
    lab.up(timeout=UP_SECONDS)
    count, bad, failed = map(int, ask(lab, CHECK.format(where=f"{WHERE}/writer")).split())
    assert count > 3
    assert (bad, failed) == (0, 0)
    assert lab.boots()["gateway"] == boot
    assert mib(lab, WHERE) >= had + 2000
    assert mib(lab, "/var") > 26 * 1024  # more than the box's disk has room for
    assert ask(lab, "lsblk --bytes --nodeps --noheadings --output SIZE /dev/vda") == str(40 << 30)
    blocks = [int(text.split()[5].split("/")[1]) for text in (pool, ask(lab, POOL))]
    assert blocks[1] - blocks[0] == 2048 * 4  # chunks of 256 KiB


@pytest.mark.parametrize(
    ("change", "words"),
    [({"disk": "36G"}, "must be 40G or more, as it is"), ({}, "disk: must be 40G or more, as it is")],
)
def test_a_disk_that_shrinks_is_refused(lab: LabUnderTest, change: dict[str, str], words: str) -> None:
    text = Path(lab.file).read_text()
    data = {"size": "3G", "mount": WHERE, "disk": "4G"}
    lab.edit(lambda config: config["nodes"].update(gateway={**change, "volumes": {"var": "28G", "data": data}}))
    try:
        assert words in lab.up(code=3, timeout=200).stderr
    finally:
        Path(lab.file).write_text(text)


def test_a_volume_grows_by_command_beyond_its_pool(lab: LabUnderTest) -> None:
    """It is thin: what is promised may be more than there is."""
    assert (
        "rackbox_data/data grown from 3G to 6G" in lab.cli("volume.grow", "gateway", "data", "6G", timeout=300).stderr
    )
    assert mib(lab, WHERE) > 5900

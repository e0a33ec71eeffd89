"""The boxes of virtual machines, for real: built, booted, asked; and what QEMU says of their disks.

Emulated, so minutes: ``./lab test -- -m vm``. RACKBOX_HOME names where boxes and packages are kept between runs.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from rackbox.bootproof import UEFI, Hardware, boot_clones
from rackbox.box import Box, check_box, current_box
from rackbox.image import rebuild
from rackbox.layout import load_layout
from rackbox.machinesmoke import judge_box
from rackbox.packing import unpack_disk
from rackbox.paths import Home
from rackbox.run import run
from rackbox.tools import find_user_home

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]
OS = "debian-13"


@pytest.fixture(scope="module")
def home() -> Home:
    if os.geteuid() != 0:
        pytest.skip("building a box needs root")
    return find_user_home()


@pytest.fixture(scope="module")
def libvirt_box(home: Home) -> Box:
    """The current one; built, and so booted by the gate, if anything has changed. A lab may have built it, whose own
    machines were its proof: then it is packed again, for the gate."""
    console = Console(file=io.StringIO())
    result = rebuild(home, OS, "libvirt", console, if_changed=True, gate=True)
    box = current_box(home.boxes, OS, "libvirt")
    if box is not None and not (box.path.parent / "gate").exists():
        result = rebuild(home, OS, "libvirt", console, if_changed=False, gate=True)
        box = current_box(home.boxes, OS, "libvirt")
    assert result.problems == ()
    assert box is not None
    check_box(box)
    return box


@pytest.fixture(scope="module")
def disk(libvirt_box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = unpack_disk(libvirt_box.path, tmp_path_factory.mktemp("box"))
    yield path
    path.unlink()


def test_the_gate_saw_it_boot(libvirt_box: Box) -> None:
    manifest = json.loads(libvirt_box.manifest.read_text())
    assert manifest["lvm"] == load_layout().table()
    names = {package["name"] for package in manifest["packages"]}
    assert {"linux-image-cloud-amd64", "lvm2", "pacemaker", "glusterfs-server"} <= names
    said = json.loads((libvirt_box.path.parent / "gate" / "clone1.json").read_text())
    assert said["firmware"] == "BIOS"
    assert "double fault" not in (libvirt_box.path.parent / "gate" / "clone1.console.log").read_text(errors="replace")


def test_its_disk_is_sound_and_compressed(disk: Path) -> None:
    run(["qemu-img", "check", "-q", str(disk)], timeout=60)
    info = json.loads(run(["qemu-img", "info", "--output=json", str(disk)], timeout=20).stdout)
    assert info["virtual-size"] == load_layout().disk_mib << 20
    assert info["format-specific"]["data"]["compression-type"] == "zstd"
    assert disk.stat().st_size < 400 << 20


@pytest.mark.parametrize(
    "hardware",
    [
        Hardware(disk="ahci"),
        Hardware(disk="scsi", uefi=True),
        Hardware(disk="virtio", uefi=True),
        Hardware(disk="nvme", uefi=True),
    ],
    ids=["AHCI", "virtio-scsi by UEFI", "virtio by UEFI", "NVMe by UEFI"],
)
def test_it_boots_on_other_hardware(disk: Path, hardware: Hardware, tmp_path: Path) -> None:
    if hardware.uefi and not UEFI.exists():
        pytest.skip("needs the package ovmf")
    clones = boot_clones(disk, tmp_path, ("other",), hardware)
    assert judge_box(load_layout(), {name: clone.said for name, clone in clones.items()}) == []
    assert clones["other"].said["firmware"] == ("UEFI" if hardware.uefi else "BIOS")


def test_nothing_changed_is_said_at_once(home: Home, libvirt_box: Box) -> None:
    started = time.monotonic()
    result = rebuild(home, OS, "libvirt", Console(file=io.StringIO()), if_changed=True, gate=True)
    assert (result.changed, result.version) == (False, libvirt_box.version)
    assert time.monotonic() - started < 10


def test_the_box_for_virtualbox_is_of_the_same_disk(home: Home, libvirt_box: Box, tmp_path: Path) -> None:
    result = rebuild(home, OS, "virtualbox", Console(file=io.StringIO()), if_changed=True, gate=True)
    assert result.problems == ()
    box = current_box(home.boxes, OS, "virtualbox")
    assert box is not None
    with tarfile.open(box.path) as archive:
        archive.extractall(tmp_path, filter="data")
    info = json.loads(run(["qemu-img", "info", "--output=json", str(tmp_path / "box-disk001.vmdk")], timeout=20).stdout)
    assert info["format-specific"]["data"]["create-type"] == "streamOptimized"
    assert info["virtual-size"] == load_layout().disk_mib << 20

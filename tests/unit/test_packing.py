"""What a virtual machine's box holds: the files that Vagrant's providers look for, and a description that adds up."""

from __future__ import annotations

import json
import re
import tarfile
import xml.etree.ElementTree as ElementTree  # our own text: nothing of it comes from elsewhere
from pathlib import Path

import pytest

from rackbox import packing
from rackbox.layout import load_layout
from rackbox.ovf import BASE_MAC, DISK_FILE, render_ovf
from rackbox.packing import RECIPE, pack, unpack_disk
from rackbox.run import Result

OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "disk.qcow2").write_bytes(b"QFI\xfb and so on")
    return tmp_path / "out"


def test_a_box_for_libvirt(out: Path, tmp_path: Path) -> None:
    facts = pack(out, tmp_path / "x.box", "libvirt")
    with tarfile.open(tmp_path / "x.box") as archive:
        assert archive.getnames() == ["metadata.json", "Vagrantfile", "box.img"]
        stream = archive.extractfile("metadata.json")
        assert stream is not None
        metadata = json.load(stream)
    disk = load_layout().disk_mib
    assert metadata == {"provider": "libvirt", "format": "qcow2", "virtual_size": disk // 1024}
    assert facts["virtual_size"] == disk << 20
    assert facts["image_size"] == 14
    assert unpack_disk(tmp_path / "x.box", tmp_path).read_bytes() == b"QFI\xfb and so on"


def test_a_box_for_virtualbox(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(argv: list[str], **_: object) -> Result:
        Path(argv[-1]).write_bytes(b"KDMV")
        return Result(tuple(argv), 0, "", "", 0.0)

    monkeypatch.setattr(packing, "run", convert)
    pack(out, tmp_path / "x.box", "virtualbox")
    with tarfile.open(tmp_path / "x.box") as archive:
        assert archive.getnames() == ["metadata.json", "Vagrantfile", "box.ovf", DISK_FILE]
        stream = archive.extractfile("box.ovf")
        assert stream is not None
        document = ElementTree.parse(stream).getroot()
    file = document.find(f"{OVF}References/{OVF}File")
    disk = document.find(f"{OVF}DiskSection/{OVF}Disk")
    assert file is not None
    assert disk is not None
    assert (file.get(f"{OVF}href"), file.get(f"{OVF}size")) == (DISK_FILE, "4")
    assert disk.get(f"{OVF}capacity") == str(load_layout().disk_mib << 20)
    assert disk.get(f"{OVF}fileRef") == file.get(f"{OVF}id")


def test_the_facts_of_a_piece_of_hardware_are_in_the_order_of_their_names() -> None:
    document = ElementTree.fromstring(render_ovf("box", disk_bytes=1, file_bytes=1))
    items = list(document.iter(f"{OVF}Item"))
    assert len(items) == 5
    for item in items:
        names = [fact.tag.removeprefix(RASD) for fact in item]
        assert names == sorted(names)


def test_vagrant_is_told_a_mac_address_of_virtualbox() -> None:
    found = re.search(r'base_mac = "([0-9A-F]{12})"', (RECIPE / "box" / "virtualbox" / "Vagrantfile").read_text())
    assert found is not None
    assert found[1] == BASE_MAC
    assert BASE_MAC.startswith("080027")

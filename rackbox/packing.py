"""How a box is packed, by provider: the file that Vagrant unpacks. Entry points: ``KINDS`` and ``pack``."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackbox.box import sha256_of
from rackbox.layout import load_layout
from rackbox.ovf import DISK_FILE, render_ovf
from rackbox.paths import PROJECT
from rackbox.run import run

RECIPE = PROJECT / "packer"
CONVERT_TIMEOUT = 600.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class BoxKind:
    """``own_kernel``: its machines are virtual ones, which boot the tree's kernel from a disk. ``pack`` makes the box
    file (second path) of a build's results (first path) and returns what its manifest says of it."""

    own_kernel: bool
    pack: Callable[[Path, Path], Mapping[str, Any]]


def pack(out: Path, target: Path, provider: str) -> Mapping[str, Any]:
    return KINDS[provider].pack(out, target)


def _pack_lxc(out: Path, target: Path) -> Mapping[str, Any]:
    """Metadata, our lxc-template, and the tree. vagrant-lxc insists on the name rootfs.tar.gz."""
    metadata = _write_json(out / "metadata.json", {"provider": "lxc", "version": "1.0.0"})
    link = out / "rootfs.tar.gz"
    link.symlink_to("rootfs.tar.zst")
    with tarfile.open(target, "w") as archive:
        archive.add(metadata, "metadata.json")
        archive.add(RECIPE / "box" / "lxc" / "lxc-template", "lxc-template")
        archive.add(link, "rootfs.tar.gz")
        archive.add(out / "rootfs.tar.zst", "rootfs.tar.zst")
    return {}


def _pack_libvirt(out: Path, target: Path) -> Mapping[str, Any]:
    """vagrant-libvirt's format 1: one disk, box.img. It is compressed inside; the box file is not, once more."""
    layout = load_layout()
    gib = -(-layout.disk_mib // 1024)
    metadata = _write_json(out / "metadata.json", {"provider": "libvirt", "format": "qcow2", "virtual_size": gib})
    disk = out / "disk.qcow2"
    with tarfile.open(target, "w") as archive:
        archive.add(metadata, "metadata.json")
        archive.add(RECIPE / "box" / "libvirt" / "Vagrantfile", "Vagrantfile")
        archive.add(disk, "box.img")
    return _facts(disk, layout.disk_mib)


def _pack_virtualbox(out: Path, target: Path) -> Mapping[str, Any]:
    """What VirtualBox exports: a description and a stream-optimised disk, which is compressed inside."""
    layout = load_layout()
    disk = out / DISK_FILE
    options = "subformat=streamOptimized,adapter_type=lsilogic"
    convert = ["qemu-img", "convert", "-O", "vmdk", "-o", options, str(out / "disk.qcow2"), str(disk)]
    run(convert, timeout=CONVERT_TIMEOUT)
    ovf = out / "box.ovf"
    ovf.write_text(render_ovf("rackbox", disk_bytes=layout.disk_mib * MIB, file_bytes=disk.stat().st_size))
    metadata = _write_json(out / "metadata.json", {"provider": "virtualbox"})
    with tarfile.open(target, "w") as archive:
        archive.add(metadata, "metadata.json")
        archive.add(RECIPE / "box" / "virtualbox" / "Vagrantfile", "Vagrantfile")
        archive.add(ovf, "box.ovf")
        archive.add(disk, DISK_FILE)
    return _facts(disk, layout.disk_mib)


def _facts(disk: Path, disk_mib: int) -> Mapping[str, Any]:
    return {"image_sha256": sha256_of(disk), "image_size": disk.stat().st_size, "virtual_size": disk_mib * MIB}


def _write_json(path: Path, document: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


def unpack_disk(box: Path, directory: Path) -> Path:
    """The disk of a virtual machine's box, as a file of its own."""
    with tarfile.open(box) as archive:
        names = archive.getnames()
        name = next(name for name in ("box.img", DISK_FILE) if name in names)
        source = archive.extractfile(name)
        assert source is not None
        target = directory / name
        with target.open("wb") as stream:
            shutil.copyfileobj(source, stream, MIB)
    return target


KINDS: Mapping[str, BoxKind] = {
    "lxc": BoxKind(False, _pack_lxc),
    "libvirt": BoxKind(True, _pack_libvirt),
    "virtualbox": BoxKind(True, _pack_virtualbox),
}

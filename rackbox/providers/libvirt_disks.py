"""The disks of a lab's virtual machines: files in its libvirt's pool. Knows what each is called, reads QEMU's qcow2
headers, makes and copies images; asks libvirt nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from pathlib import Path

from rackbox.box import Box
from rackbox.run import run
from rackbox.topology import Node, Volume

BOX_IMAGE = "box.img"
SAVE_SECONDS = 300.0


def volume_name(box: Box) -> str:
    """A box's image in a pool, as vagrant-libvirt names it (action/handle_box_image.rb)."""
    return f"{box.name.replace('/', '-VAGRANTSLASH-')}_vagrant_box_image_{box.version}_{BOX_IMAGE}"


def backing_file(disk: Path) -> str:
    """What a qcow2 image lies on; "" where it lies on nothing, or is none (QEMU's docs/interop/qcow2.rst: offset and
    size of the name stand in the header)."""
    try:
        with disk.open("rb") as stream:
            magic, _version, offset, size = struct.unpack(">4sIQI", stream.read(20))
            if magic != b"QFI\xfb" or not offset or size > 1023:
                return ""
            stream.seek(offset)
            return stream.read(size).decode(errors="replace")
    except (OSError, struct.error):
        return ""


def virtual_mib(disk: Path) -> int:
    """How large a machine sees a qcow2 image (the header's field at 24); 0 where there is none."""
    try:
        with disk.open("rb") as stream:
            magic, size = struct.unpack(">4s20xQ", stream.read(32))
    except (OSError, struct.error):
        return 0
    return size >> 20 if magic == b"QFI\xfb" else 0


def disk_targets(node: Node) -> list[tuple[str, Volume]]:
    """The volumes with a disk of their own, and that disk's name inside: vdb and so on."""
    return [(f"vd{chr(ord('b') + number)}", volume) for number, volume in enumerate(node.own_disks)]


def own_disk_name(node: Node, volume: Volume) -> str:
    return f"{node.name}-{volume.name}.qcow2"


def disk_names(node: Node) -> list[str]:
    """Every disk that a machine writes to."""
    return [f"{node.name}.img", *(own_disk_name(node, volume) for volume in node.own_disks)]


def seed_name(node: Node) -> str:
    return f"{node.name}-seed.img"


def link_box(pool: Path, box: Box, installed: Path) -> None:
    """Link the box's image into the pool under the name by which vagrant-libvirt looks for it, which saves it the
    upload of a copy for each lab; and let go of images that no machine stands on any more."""
    used = {Path(backing_file(disk)).name for disk in pool.glob("*.img")}
    image = pool / volume_name(box)
    for old in pool.glob("*_vagrant_box_image_*.img"):
        if old.name not in used and not (old == image and old.samefile(installed / BOX_IMAGE)):
            old.unlink()
    if not image.exists():
        try:
            os.link(installed / BOX_IMAGE, image)
        except OSError:  # on another file system
            run(["cp", "--reflink=auto", str(installed / BOX_IMAGE), str(image)], timeout=120)


def drop_disks(pool: Path, nodes: Collection[Node], machines: Collection[str]) -> None:
    """Remove disks of volumes that neither ``nodes`` nor a machine that still exists has."""
    wanted = {own_disk_name(node, volume) for node in nodes for volume in node.own_disks}
    there = tuple(f"{name}-" for name in machines)
    for disk in pool.glob("*.qcow2"):
        if disk.name not in wanted and not disk.name.startswith(there):
            disk.unlink()


def make_disks(pool: Path, node: Node) -> None:
    """Make what a machine lacks, and have what it has be as large as it is to be."""
    wanted = {pool / own_disk_name(node, volume): volume.disk_mib for volume in node.own_disks}
    for disk in (disk for disk in wanted if not disk.exists()):
        run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), f"{wanted[disk]}M"], timeout=30)
    own = pool / f"{node.name}.img"
    if own.exists():
        wanted[own] = node.disk_mib
    for disk, mib in wanted.items():
        if virtual_mib(disk) < mib:
            run(["qemu-img", "resize", "-q", str(disk), f"{mib}M"], timeout=30)


def copy_disk(source: Path, target: Path) -> None:
    """A whole file or none; holes stay holes, and where the file system can, nothing is copied at all."""
    part = target.with_name(f"{target.name}.part")
    run(["cp", "--reflink=auto", "--sparse=auto", str(source), str(part)], timeout=SAVE_SECONDS)
    part.replace(target)

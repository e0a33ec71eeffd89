"""What must hold before a lab with Kubernetes boots: room for it (``check_room``), and a bundle that is what its
manifest says (``check_files``)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rackbox.bundle import MANIFEST, read_bundle
from rackbox.capabilities import parse_available_kib
from rackbox.errors import LabError, MissingTool
from rackbox.release import MAKE_ONE, Release
from rackbox.topology import Topology

# What a machine of the role really takes in such a lab, in MiB: see the README's figures, and rounded up.
NEEDED_MIB = {"gateway": 60, "lb": 150, "master": 1000, "worker": 500, "gluster": 120}
MEMINFO = Path("/proc/meminfo")


def needed_memory(topology: Topology) -> int:
    """What the lab takes in MiB, more or less."""
    return sum(NEEDED_MIB.get(node.role, 100) for node in topology.nodes)


def check_room(topology: Topology, meminfo: Path = MEMINFO) -> None:
    """Raise ``MissingTool`` if this computer has not the memory for it: the kernel would end processes at random."""
    needed, there = needed_memory(topology), parse_available_kib(meminfo.read_text()) // 1024
    if there < needed:
        text = f"lab {topology.lab} with Kubernetes needs {needed} MiB of free memory; there are {there} MiB"
        raise MissingTool(text, "take other labs down, or have fewer masters and workers")


def check_files(release: Release) -> None:
    """Raise ``LabError`` unless every file of the bundle has the checksum that its manifest names.

    A bundle is some hundreds of megabytes: that they were right is remembered beside the catalogue, and holds as long
    as no file's size, time or inode changes.
    """
    stamp = release.directory.parent / f".{release.directory.name}.checked"
    parts = read_bundle(release.directory).parts
    look = _look(release.directory, [part.path for part in parts])
    if _is_stamped(stamp, look):
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        sums = pool.map(lambda part: _sum(release.directory / part.path), parts)
        wrong = [
            f"{part.path}: must have the SHA-256 {part.sha256}; {f'has {found}' if found else 'is not there'}"
            for part, found in zip(parts, sums, strict=True)
            if found != part.sha256
        ]
    if wrong:
        raise LabError("\n".join(f"{release.directory}/{text}" for text in wrong), f"it is damaged: {MAKE_ONE}")
    try:
        stamp.write_text(look)
    except OSError:
        return  # somebody else's directory: it is looked at each time


def _look(directory: Path, paths: Sequence[str]) -> str:
    digest = hashlib.sha256((directory / MANIFEST).read_bytes())
    for path in paths:
        try:
            stat = (directory / path).stat()
        except FileNotFoundError:
            return ""
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}\n".encode())
    return digest.hexdigest()


def _is_stamped(stamp: Path, look: str) -> bool:
    try:
        return bool(look) and stamp.read_text() == look
    except OSError:
        return False


def _sum(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return ""

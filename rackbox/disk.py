"""The disk of a virtual machine's box: has Packer lay a tree out on it. Entry points: ``make_disk``, ``Making``.

The last tree and the last disk are kept: another provider's box is packed of the same ones without building anything,
and another layout takes no new tree.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from rackbox.layout import Layout, render_disk
from rackbox.manifest import Resolved
from rackbox.packer import run_packer
from rackbox.packing import RECIPE
from rackbox.paths import Home
from rackbox.run import run

DISK_TIMEOUT = 600.0
TREE = ("rootfs.tar.zst", "packages.tsv", "sources.txt", "tools.txt")
DISK = ("disk.qcow2", "lvm.json")
BuildTree = Callable[[Path, Path], None]
Digest = Callable[[Path], str]


@dataclass(frozen=True, slots=True)
class Making:
    """One build: where it works, where its results go, what it writes to. ``epoch`` is SOURCE_DATE_EPOCH."""

    home: Home
    os: str
    work: Path
    out: Path
    log: Path
    epoch: int
    console: Console


def kept_disk(home: Home, os_name: str) -> Path:
    """The last tree and its disk; may be removed at any time."""
    return home.data / "cache" / f"disk-{os_name}"


def make_disk(making: Making, resolved: Resolved, layout: Layout, digest: Digest, build_tree: BuildTree) -> None:
    """Put a tree and its disk (``TREE``, ``DISK``) into ``making.out``: those that are kept if they would come out the
    same. ``digest`` is of a directory's files."""
    files = render_disk(layout)
    in_tree = {name.removeprefix("tree/"): text for name, text in files.items() if name.startswith("tree/")}
    packages = [f"{p.name} {p.version} {p.architecture} {p.sha256}" for p in resolved.packages.values()]
    tree_key = _key([digest(RECIPE / "rootfs"), str(making.epoch), *sorted(packages)], in_tree)
    if not _take_kept(making, TREE, tree_key):
        kernel_files = making.work / "kernel-files"
        shutil.copytree(RECIPE / "rootfs" / "kernel-files", kernel_files)
        _write(kernel_files, in_tree)
        build_tree(making.out, kernel_files)
        _keep(making, TREE, tree_key)
    disk_key = _key([tree_key, digest(RECIPE / "disk")], files)
    if not _take_kept(making, DISK, disk_key):
        rendered = making.work / "rendered"
        _write(rendered, files)
        _lay_out(making, rendered)
        _keep(making, DISK, disk_key)


def _lay_out(making: Making, rendered: Path) -> None:
    started = time.monotonic()
    variables = {
        "rootfs": making.out / "rootfs.tar.zst",
        "rendered": rendered,
        "output": making.out,
        "source_date_epoch": making.epoch,
    }
    run_packer(RECIPE / "disk", "disk", variables, work=making.work, log=making.log, timeout=DISK_TIMEOUT)
    size = (making.out / "disk.qcow2").stat().st_size >> 20
    making.console.print(f"[green]✓[/] disk on LVM {size} MiB  {time.monotonic() - started:.0f} s")


def qemu_version() -> str:
    """For a box's manifest: what emulated the machine that laid its disk out."""
    return run(["qemu-system-x86_64", "--version"], timeout=10).stdout.splitlines()[0]


def _key(facts: Sequence[str], files: Mapping[str, str]) -> str:
    texts = [f"{name}\0{text}" for name, text in sorted(files.items())]
    return hashlib.sha256("\n".join([*facts, *texts]).encode()).hexdigest()


def _write(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


def _take_kept(making: Making, names: Sequence[str], key: str) -> bool:
    kept = kept_disk(making.home, making.os)
    mark = kept / f"{names[0]}.key"
    if not (mark.is_file() and mark.read_text() == key and all((kept / name).is_file() for name in names)):
        return False
    for name in names:
        _link(kept / name, making.out / name)
    making.console.print(f"[green]✓[/] {names[0]} as it was built last: nothing of it has changed")
    return True


def _keep(making: Making, names: Sequence[str], key: str) -> None:
    kept = kept_disk(making.home, making.os)
    kept.mkdir(parents=True, exist_ok=True)
    mark = kept / f"{names[0]}.key"
    mark.unlink(missing_ok=True)
    for name in names:
        (kept / name).unlink(missing_ok=True)
        _link(making.out / name, kept / name)
    mark.write_text(key)


def _link(source: Path, target: Path) -> None:
    """Both are below the data directory, where links work; elsewhere a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

"""The disk of a virtual machine's box: has Packer lay a tree out on it. Entry points: ``make_disk``, ``disk_key``.

The last disk is kept beside its tree: the next provider's box is packed of the same one, without building anything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from rackbox.layout import Layout, render_disk
from rackbox.manifest import Resolved
from rackbox.packer import run_packer
from rackbox.packing import RECIPE
from rackbox.paths import Home
from rackbox.run import run

DISK_TIMEOUT = 600.0
KEPT = ("rootfs.tar.zst", "packages.tsv", "sources.txt", "tools.txt", "disk.qcow2", "lvm.json")
KEY = "key"
BuildTree = Callable[[Path, Path], None]


def disk_key(recipe: str, resolved: Resolved, epoch: int) -> str:
    """What a disk is made of, in short: two builds with the same key would give the same."""
    rows = [f"{p.name} {p.version} {p.architecture} {p.sha256}" for p in resolved.packages.values()]
    return hashlib.sha256("\n".join([recipe, str(epoch), *sorted(rows)]).encode()).hexdigest()


def kept_disk(home: Home, os_name: str) -> Path:
    """The last disk and its tree; may be removed at any time."""
    return home.data / "cache" / f"disk-{os_name}"


def make_disk(
    home: Home,
    os_name: str,
    key: str,
    layout: Layout,
    build_tree: BuildTree,
    work: Path,
    out: Path,
    log: Path,
    epoch: int,
    console: Console,
) -> None:
    """Put a tree and its disk (``KEPT``) into ``out``: those that are kept if they are of the same ``key``."""
    kept = kept_disk(home, os_name)
    if _is_kept(kept, key):
        for name in KEPT:
            _link(kept / name, out / name)
        console.print("[green]✓[/] tree and disk as they were built last: nothing of them has changed")
        return
    rendered, kernel_files = work / "rendered", work / "kernel-files"
    shutil.copytree(RECIPE / "rootfs" / "kernel-files", kernel_files)
    for name, text in render_disk(layout).items():
        inside = name.removeprefix("tree/")
        path = kernel_files / inside if inside != name else rendered / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    build_tree(out, kernel_files)
    started = time.monotonic()
    variables = {
        "rootfs": out / "rootfs.tar.zst",
        "rendered": rendered,
        "output": out,
        "source_date_epoch": epoch,
    }
    run_packer(RECIPE / "disk", "disk", variables, work=work, log=log, timeout=DISK_TIMEOUT)
    with (out / "tools.txt").open("a") as tools:
        tools.write(run(["qemu-system-x86_64", "--version"], timeout=10).stdout.splitlines()[0] + "\n")
    size = (out / "disk.qcow2").stat().st_size >> 20
    console.print(f"[green]✓[/] disk on LVM {size} MiB  {time.monotonic() - started:.0f} s")
    _keep(kept, key, out)


def _is_kept(kept: Path, key: str) -> bool:
    try:
        return (kept / KEY).read_text() == key and all((kept / name).is_file() for name in KEPT)
    except FileNotFoundError:
        return False


def _keep(kept: Path, key: str, out: Path) -> None:
    part = kept.with_name(kept.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in KEPT:
        _link(out / name, part / name)
    (part / KEY).write_text(key)
    shutil.rmtree(kept, ignore_errors=True)
    part.rename(kept)


def _link(source: Path, target: Path) -> None:
    """Both are below the data directory, where links work; elsewhere a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

"""Packer's part of a box: asks what a build would install, builds the tree, packs it with its manifest and its SBOM.

Entry points: ``resolve`` and ``build``. Everything is made in a directory beside the catalogue that is moved into place
as a whole: what is not complete is never seen. The caller holds the builders' lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from rackbox import __version__
from rackbox.box import Box, box_path, sha256_of, sync_directory
from rackbox.catalogue import MARK, list_versions
from rackbox.errors import CommandFailed, LabError
from rackbox.manifest import Resolved, make_manifest, parse_packages, parse_resolved
from rackbox.paths import PROJECT, Home
from rackbox.run import run
from rackbox.sbom import make_sbom

RECIPE = PROJECT / "packer"
BUILD_TIMEOUT = 1800.0
RESOLVE_TIMEOUT = 300.0
ROOM_MIB = 3000
"""Free space that a build needs at its peak: the tree (700 MiB), its archive, the box and the unpacked copy."""


def recipe_digest(recipe: Path = RECIPE) -> str:
    """SHA-256 over every file that a box is made from, with its path and its executable bit."""
    digest = hashlib.sha256()
    for path in sorted(path for path in recipe.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(f"{path.relative_to(recipe)}\0{bool(status.st_mode & 0o100)}\0{status.st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def recipe_revision(recipe: Path = RECIPE) -> dict[str, Any] | None:
    """The git commit that the recipe is of, and whether its files differ from it; None outside of a git checkout."""
    try:
        commit = run(["git", "-C", str(recipe), "rev-parse", "HEAD"], timeout=10).stdout.strip()
        changed = run(["git", "-C", str(recipe), "status", "--porcelain", "--", "."], timeout=10).stdout
    except LabError:  # not a checkout, or no git
        return None
    return {"commit": commit, "dirty": bool(changed.strip())}


def resolve(home: Home, os_name: str, provider: str, work: Path, console: Console) -> Resolved:
    """What a build would install now. Indices are kept, so that only what has changed is fetched."""
    started = time.monotonic()
    out = work / "resolved"
    out.mkdir()
    _packer("resolve", home, os_name, provider, work, out, epoch=0, timeout=RESOLVE_TIMEOUT)
    resolved = parse_resolved((out / "resolved.tsv").read_text(), (out / "sources.txt").read_text())
    dates = datetime.fromtimestamp(resolved.epoch, UTC)
    console.print(
        f"[green]✓[/] {len(resolved.packages)} packages looked up, archive of {dates:%Y-%m-%d %H:%M}  "
        f"{time.monotonic() - started:.1f} s"
    )
    return resolved


def build(home: Home, os_name: str, provider: str, resolved: Resolved, work: Path, console: Console) -> Box:
    """A complete version on disk, with the state ``candidate``."""
    started = time.monotonic()
    now = datetime.now(UTC)
    version = _next_version(home, os_name, provider, now)
    out = work / "out"
    out.mkdir()
    log = build_log(home, os_name, provider)
    console.print(f"building box rackbox/{os_name} {version} with Packer (about a minute; log: {log})", soft_wrap=True)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or resolved.epoch)
    _packer("rootfs", home, os_name, provider, work, out, epoch=epoch, timeout=BUILD_TIMEOUT)
    console.print(
        f"[green]✓[/] root file system {_mib(out / 'rootfs.tar.zst')} MiB  {time.monotonic() - started:.0f} s"
    )
    packed = work / "box"
    packed.mkdir()
    path = box_path(home.boxes, os_name, provider, version)
    pack(out, packed / path.name, provider)
    sha256 = sha256_of(packed / path.name)
    header = {
        "os": os_name,
        "provider": provider,
        "version": version,
        "built": now.isoformat(timespec="seconds"),
        "rackbox": __version__,
        "recipe": recipe_digest(),
        "revision": recipe_revision(),
        "source_date_epoch": epoch,
        "sha256": sha256,
        "size": (packed / path.name).stat().st_size,
        "rootfs_sha256": sha256_of(out / "rootfs.tar.zst"),
    }
    packages = parse_packages((out / "packages.tsv").read_text(), resolved.packages)
    tools = (out / "tools.txt").read_text().splitlines()
    manifest = make_manifest(header, packages.values(), resolved.sources, tools, lvm=None)
    box = Box(os_name, provider, version, path, sha256)
    entry = {"name": provider, "url": path.as_uri(), "checksum_type": "sha256", "checksum": box.sha256}
    alone = {"name": box.name, "versions": [{"version": version, "providers": [entry]}]}
    documents: dict[str, Mapping[str, Any]] = {
        "manifest.json": manifest,
        "sbom.cdx.json": make_sbom(manifest),
        "metadata.json": alone,
        MARK: {"state": "candidate", "reason": ""},
    }
    for name, document in documents.items():
        (packed / name).write_text(json.dumps(document, indent=2) + "\n")
    (packed / "build.log").write_bytes(log.read_bytes())
    _put_in_place(packed, path.parent)
    console.print(f"[green]✓[/] box {box.name} {version} {_mib(path)} MiB  {time.monotonic() - started:.0f} s")
    return box


def pack(out: Path, target: Path, provider: str) -> None:
    """An LXC box: metadata, our lxc-template, and the tree. vagrant-lxc insists on the name rootfs.tar.gz."""
    metadata = out / "metadata.json"
    metadata.write_text(json.dumps({"provider": provider, "version": "1.0.0"}))
    link = out / "rootfs.tar.gz"
    link.symlink_to("rootfs.tar.zst")
    with tarfile.open(target, "w") as archive:
        archive.add(metadata, "metadata.json")
        archive.add(RECIPE / "box" / provider / "lxc-template", "lxc-template")
        archive.add(link, "rootfs.tar.gz")
        archive.add(out / "rootfs.tar.zst", "rootfs.tar.zst")


def build_log(home: Home, os_name: str, provider: str) -> Path:
    return home.boxes / f"build-{os_name}-{provider}.log"


def apt_root(home: Home, os_name: str) -> Path:
    """Indices and packages that are kept between builds; may be removed at any time."""
    return home.data / "cache" / f"apt-{os_name}"


def _packer(
    only: str, home: Home, os_name: str, provider: str, work: Path, out: Path, *, epoch: int, timeout: float
) -> None:
    log = build_log(home, os_name, provider)
    if only == "resolve":
        log.unlink(missing_ok=True)
    root = apt_root(home, os_name)
    root.mkdir(parents=True, exist_ok=True)
    rootfs = RECIPE / "rootfs"
    variables = {
        "output": out,
        "source_date_epoch": epoch,
        "apt_root": root,
        "apt_sources": os.environ.get("RACKBOX_APT_SOURCES", ""),
    }
    argv = ["packer", "build", "-color=false", f"-only=null.{only}", f"-var-file={rootfs / os_name}.pkrvars.hcl"]
    argv += [f"-var={name}={value}" for name, value in variables.items()]
    environment = {**os.environ, "TMPDIR": str(work), "CHECKPOINT_DISABLE": "1", "PACKER_CONFIG_DIR": str(work)}
    try:
        run([*apart(), *argv, str(rootfs)], timeout=timeout, env=environment, log=log)
    except CommandFailed as error:
        raise _explain(error, work, log) from error


def _next_version(home: Home, os_name: str, provider: str, now: datetime) -> str:
    """By the clock; behind the newest there is, if the clock has been put back: Vagrant takes the highest."""
    version = now.strftime("%Y%m%d.%H%M%S")
    there = [item.version for item in list_versions(home, os_name, provider)]
    newest = max(there, key=_numbers, default="")
    return f"{newest}.1" if newest and _numbers(version) <= _numbers(newest) else version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def _put_in_place(packed: Path, target: Path) -> None:
    """Have the version appear whole, and stay through a power cut: its files first, then its name."""
    for path in packed.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_directory(packed)
    target.parent.mkdir(parents=True, exist_ok=True)
    packed.rename(target)
    sync_directory(target.parent)
    sync_directory(target.parent.parent)


def apart() -> Sequence[str]:
    """What makes a program run where all that it mounts and starts ends with it, and it with us, however that comes.

    mmdebstrap mounts /proc, /sys and /dev in its tree; were they left there, cleaning up would go through them.
    """
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--pdeathsig=KILL", "unshare", "--mount-proc", "--pid", "--fork", "--kill-child=KILL", "--"]


def _explain(error: CommandFailed, work: Path, log: Path) -> LabError:
    """The same failure with what to do about it."""
    text = log.read_text(errors="replace") if log.exists() else ""
    if "No space left on device" in text or shutil.disk_usage(work).free >> 20 < 100:
        hint = f"a build needs {ROOM_MIB} MiB at its peak: make room, or set RACKBOX_HOME to a directory that has it"
        return LabError(f"{work.parent}: the disk is full; the box was not built (log: {log})", hint)
    error.hint = f"the whole output is in {log}"
    return error


def _mib(path: Path) -> int:
    return path.stat().st_size >> 20

"""Builds the base box: Packer runs the recipe, the result is packed, checked and entered into the catalogue.

Entry point: ``build_image``. Everything happens in a directory beside the catalogue that is moved into place as a
whole, so a build that fails leaves the boxes as they were.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from rackbox import __version__
from rackbox.box import Box, box_path, current_box, promote_box, sha256_of
from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, CommandFailed, LabBusy, LabError
from rackbox.paths import PROJECT, Home
from rackbox.run import run
from rackbox.tools import check_tools, find_user_home

RECIPE = PROJECT / "packer"
BUILD_TIMEOUT = 1800.0
ROOM_MIB = 3000
"""Free space that a build needs at its peak: the tree (700 MiB), its archive, the box and the unpacked copy."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """What came of a rebuild. ``version`` is the current one afterwards, or the one that was refused; ``changes`` are
    lines for a person; ``log`` is the build's; ``figures`` are the gate's: numbers by name, ``haproxy-killed_ms``."""

    changed: bool
    version: str
    promoted: bool
    changes: tuple[str, ...]
    log: Path
    figures: Mapping[str, float] = field(default_factory=dict)


def rebuild(
    home: Home, os_name: str, provider: str, console: Console, *, if_changed: bool, gate: bool
) -> RebuildResult:
    """Build a box (with ``if_changed`` only if it would be another than the current one), prove it and promote it.

    A box that the gate refuses is told by ``promoted`` false, not by an exception: it stays, ``failed``, with its logs.
    """
    before = current_box(home.boxes, os_name, provider)
    box = build_image(home, os_name, provider, console, if_changed=if_changed)
    changed = before is None or box.version != before.version
    return RebuildResult(changed, box.version, True, (), home.boxes / f"build-{os_name}-{provider}.log")


def command(os_name: str, provider: str, if_changed: bool) -> int:
    """`invoke image`."""
    console = open_console(stderr=True)
    build_image(find_user_home(), os_name, provider or "lxc", console, if_changed=if_changed)
    return EXIT_OK


def build_image(home: Home, os_name: str, provider: str, console: Console, *, if_changed: bool = False) -> Box:
    """Build a box, or with ``if_changed`` return the current one if its recipe is still the same."""
    if provider == "auto":
        provider = "lxc"
    _check_request(os_name, provider)
    recipe = recipe_digest()
    box = current_box(home.boxes, os_name, provider)
    if if_changed and box and box.path.exists() and _recipe_of(box) == recipe:
        console.print(f"[green]✓[/] box {box.name} {box.version}: nothing changed in its recipe")
        return box
    check_tools(provider)
    home.boxes.mkdir(parents=True, exist_ok=True)
    with _builder(home.boxes, os_name), tempfile.TemporaryDirectory(prefix=".build-", dir=home.boxes) as directory:
        return _build(home, os_name, provider, recipe, Path(directory), console)


def recipe_digest(recipe: Path = RECIPE) -> str:
    """SHA-256 over every file that a box is made from, with its path and its executable bit."""
    digest = hashlib.sha256()
    for path in sorted(path for path in recipe.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(f"{path.relative_to(recipe)}\0{bool(status.st_mode & 0o100)}\0{status.st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _recipe_of(box: Box) -> str | None:
    """The digest of the recipe that a box was built from; None where its manifest does not say."""
    try:
        recipe: str | None = json.loads(box.manifest.read_text())["recipe"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return recipe


def _build(home: Home, os_name: str, provider: str, recipe: str, work: Path, console: Console) -> Box:
    started = time.monotonic()
    now = datetime.now(UTC)
    version = now.strftime("%Y%m%d.%H%M%S")
    out = work / "out"
    out.mkdir()
    log = home.boxes / f"build-{os_name}-{provider}.log"
    log.unlink(missing_ok=True)
    console.print(f"building box rackbox/{os_name} {version} with Packer (about a minute; log: {log})", soft_wrap=True)
    # The same day's builds of the same packages agree to the byte.
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or str(int(now.replace(hour=0, minute=0, second=0).timestamp()))
    rootfs = RECIPE / "rootfs"
    variables = {"output": str(out), "source_date_epoch": epoch}
    argv = ["packer", "build", "-color=false", f"-var-file={rootfs / os_name}.pkrvars.hcl"]
    argv += [f"-var={name}={value}" for name, value in variables.items()]
    environment = {**os.environ, "TMPDIR": str(work), "CHECKPOINT_DISABLE": "1", "PACKER_CONFIG_DIR": str(work)}
    try:
        run([*_apart(), *argv, str(rootfs)], timeout=BUILD_TIMEOUT, env=environment, log=log)
    except CommandFailed as error:
        raise _explain(error, work, log) from error
    console.print(
        f"[green]✓[/] root file system {_mib(out / 'rootfs.tar.zst')} MiB  {time.monotonic() - started:.0f} s"
    )
    packed = work / "box"
    packed.mkdir()
    name = box_path(home.boxes, os_name, provider, version).name
    _pack(out, packed / name, provider)
    manifest = _manifest(out, os_name, provider, version, recipe, now, packed / name)
    (packed / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    box = Box(os_name, provider, version, box_path(home.boxes, os_name, provider, version), manifest["sha256"])
    box.path.parent.parent.mkdir(parents=True, exist_ok=True)
    packed.rename(box.path.parent)
    promote_box(home.boxes, box)
    console.print(f"[green]✓[/] box {box.name} {version} {_mib(box.path)} MiB  {time.monotonic() - started:.0f} s")
    return box


def _pack(out: Path, target: Path, provider: str) -> None:
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


def _manifest(
    out: Path, os_name: str, provider: str, version: str, recipe: str, now: datetime, box: Path
) -> dict[str, Any]:
    packages = [line.split("\t") for line in (out / "packages.tsv").read_text().splitlines()]
    return {
        "schema": 1,
        "os": os_name,
        "provider": provider,
        "version": version,
        "built": now.isoformat(timespec="seconds"),
        "rackbox": __version__,
        "recipe": recipe,
        "sha256": sha256_of(box),
        "size": box.stat().st_size,
        "rootfs_sha256": sha256_of(out / "rootfs.tar.zst"),
        "tools": (out / "tools.txt").read_text().splitlines(),
        "sources": [block.splitlines() for block in (out / "sources.txt").read_text().strip().split("\n\n")],
        "packages": [{"name": name, "version": of, "architecture": arch} for name, of, arch in packages],
    }


def _check_request(os_name: str, provider: str) -> None:
    known = sorted(path.name.removesuffix(".pkrvars.hcl") for path in (RECIPE / "rootfs").glob("*.pkrvars.hcl"))
    if os_name not in known:
        raise LabError(f"os: must be one of {', '.join(known)}; got {os_name}")
    providers = sorted(path.name for path in (RECIPE / "box").iterdir())
    if provider not in providers:
        raise LabError(f"provider: must be one of {', '.join(providers)}; got {provider}")


def _apart() -> list[str]:
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


@contextmanager
def _builder(boxes: Path, os_name: str) -> Iterator[None]:
    """One builder at a time; what a builder that was killed left behind goes first."""
    with (boxes / f".{os_name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabBusy(f"another build of {os_name} is under way", "wait for it to end") from None
        for stale in boxes.glob(".build-*"):
            if mounted := _mounts_below(stale):
                raise LabError(f"{stale}: something is mounted there: {', '.join(mounted)}", "unmount it first")
            shutil.rmtree(stale, ignore_errors=True)
        yield


def _mounts_below(directory: Path, mounts: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """Mount points in a directory that is to be removed: whatever they lead to is not ours."""
    points = [line.split()[4].replace("\\040", " ") for line in mounts.read_text().splitlines()]
    return [point for point in points if Path(point).is_relative_to(directory)]


def _mib(path: Path) -> int:
    return path.stat().st_size >> 20

"""Makes a box: asks what a build would install, has Packer build it, packs it with its manifest and its SBOM.

Entry points: ``resolve`` and ``build``. Everything is made in a directory beside the catalogue that is moved into place
as a whole: what is not complete is never seen. The caller holds the builders' lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from rackbox import __version__
from rackbox.box import Box, box_path, sha256_of, sync_directory
from rackbox.capabilities import parse_available_kib
from rackbox.catalogue import MARK, list_versions
from rackbox.disk import Making, make_disk, qemu_version
from rackbox.errors import LabError
from rackbox.layout import LAYOUT, Layout, load_layout, render_disk
from rackbox.manifest import Resolved, make_manifest, parse_packages, parse_resolved
from rackbox.packer import apart, run_packer
from rackbox.packing import KINDS, RECIPE, pack
from rackbox.paths import Home
from rackbox.run import run
from rackbox.sbom import make_sbom

ROOTFS = RECIPE / "rootfs"
IN_MEMORY_MIB = 6144
"""Free memory from which on a tree is made in memory: it takes 0.8 GiB with its packages, with a kernel some 1.2, and a
lab may be up beside it."""
BUILD_TIMEOUT = 1800.0
RESOLVE_TIMEOUT = 300.0


def recipe_digest(recipe: Path = RECIPE) -> str:
    """SHA-256 over every file that a box is made from, with its path and its executable bit, and over what is rendered
    for its disk."""
    digest = hashlib.sha256()
    for path in sorted(path for path in recipe.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(f"{path.relative_to(recipe)}\0{bool(status.st_mode & 0o100)}\0{status.st_size}\0".encode())
        digest.update(path.read_bytes())
    if (layout := recipe / "disk" / LAYOUT.name).exists():
        for name, text in sorted(render_disk(load_layout(layout)).items()):
            digest.update(f"{name}\0{len(text)}\0{text}".encode())
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
    log = build_log(home, os_name, provider)
    log.unlink(missing_ok=True)
    variables = tree_variables(home, os_name, provider, out, epoch=0)
    run_packer(ROOTFS, "resolve", variables, work=work, log=log, timeout=RESOLVE_TIMEOUT, var_file=var_file(os_name))
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
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or resolved.epoch)
    console.print(f"building box rackbox/{os_name} {version} with Packer (log: {log})", soft_wrap=True)
    build_tree = partial(_build_tree, home, os_name, provider, work, log, epoch, console)
    layout = load_layout() if KINDS[provider].own_kernel else None
    if layout is None:
        build_tree(out)
    else:
        making = Making(home, os_name, work, out, log, epoch, console)
        make_disk(making, resolved, layout, recipe_digest, build_tree)
    packed = work / "box"
    packed.mkdir()
    path = box_path(home.boxes, os_name, provider, version)
    facts = pack(out, packed / path.name, provider)
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
        **facts,
    }
    box = Box(os_name, provider, version, path, sha256)
    _write_documents(packed, box, _manifest(out, header, resolved, layout))
    (packed / "build.log").write_bytes(log.read_bytes())
    _put_in_place(packed, path.parent)
    console.print(f"[green]✓[/] box {box.name} {version} {_mib(path)} MiB  {time.monotonic() - started:.0f} s")
    return box


def _manifest(out: Path, header: Mapping[str, Any], resolved: Resolved, layout: Layout | None) -> Mapping[str, Any]:
    packages = parse_packages((out / "packages.tsv").read_text(), resolved.packages)
    tools = (out / "tools.txt").read_text().splitlines()
    if layout:
        tools.append(qemu_version())
    return make_manifest(header, packages.values(), resolved.sources, tools, lvm=layout.table() if layout else None)


def _write_documents(packed: Path, box: Box, manifest: Mapping[str, Any]) -> None:
    """What stands beside a box: its manifest, SBOM, a catalogue of it alone, its state."""
    entry = {"name": box.provider, "url": box.path.as_uri(), "checksum_type": "sha256", "checksum": box.sha256}
    alone = {"name": box.name, "versions": [{"version": box.version, "providers": [entry]}]}
    documents: dict[str, Mapping[str, Any]] = {
        "manifest.json": manifest,
        "sbom.cdx.json": make_sbom(manifest),
        "metadata.json": alone,
        MARK: {"state": "candidate", "reason": ""},
    }
    for name, document in documents.items():
        (packed / name).write_text(json.dumps(document, indent=2) + "\n")


def _build_tree(
    home: Home,
    os_name: str,
    provider: str,
    work: Path,
    log: Path,
    epoch: int,
    console: Console,
    out: Path,
    kernel_files: Path | None = None,
) -> None:
    """Have Packer build the root file system into ``out``."""
    started = time.monotonic()
    variables = tree_variables(home, os_name, provider, out, epoch=epoch) | {"kernel_files": kernel_files or ""}
    run_packer(ROOTFS, "rootfs", variables, work=work, log=log, timeout=BUILD_TIMEOUT, var_file=var_file(os_name))
    console.print(
        f"[green]✓[/] root file system {_mib(out / 'rootfs.tar.zst')} MiB  {time.monotonic() - started:.0f} s"
    )


def tree_variables(home: Home, os_name: str, provider: str, out: Path, *, epoch: int) -> dict[str, object]:
    """The recipe's variables beside its var file: packer/rootfs/variables.pkr.hcl."""
    root = apt_root(home, os_name, provider)
    root.mkdir(parents=True, exist_ok=True)
    return {
        "output": out,
        "source_date_epoch": epoch,
        "apt_root": root,
        "apt_sources": os.environ.get("RACKBOX_APT_SOURCES", ""),
        "own_kernel": str(KINDS[provider].own_kernel).lower(),
        "in_memory": str(bool(apart()) and _free_memory_mib() >= IN_MEMORY_MIB).lower(),
    }


def _free_memory_mib() -> int:
    return parse_available_kib(Path("/proc/meminfo").read_text(encoding="ascii")) // 1024


def var_file(os_name: str) -> Path:
    return ROOTFS / f"{os_name}.pkrvars.hcl"


def list_releases() -> list[str]:
    """What can be built: each has a var file. Packer reads ``*.auto.pkrvars.hcl`` for all of them."""
    names = (path.name.removesuffix(".pkrvars.hcl") for path in ROOTFS.glob("*.pkrvars.hcl"))
    return sorted(name for name in names if not name.endswith(".auto"))


def build_log(home: Home, os_name: str, provider: str) -> Path:
    return home.boxes / f"build-{os_name}-{provider}.log"


def apt_root(home: Home, os_name: str, provider: str = "lxc") -> Path:
    """Indices and packages that are kept between builds; may be removed at any time. Machines with a kernel of their
    own have more packages, so these have a place of their own."""
    kernel = "-kernel" if KINDS[provider].own_kernel else ""
    return home.data / "cache" / f"apt-{os_name}{kernel}"


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


def _mib(path: Path) -> int:
    return path.stat().st_size >> 20

"""What bundles are put together from, however their parts were had: a place to work in, the manifest and the SBOM, and
one rename into the catalogue.

Entry points: ``bundle_builder``, ``Parts``, ``assemble``.
"""

from __future__ import annotations

import json
import os
import shutil
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
from rackbox.box import sha256_of, sync_directory
from rackbox.builders import alone, remove_tree
from rackbox.bundle import KIND, MANIFEST, SCHEMA, Bundle, parse_bundle, read_bundle
from rackbox.bundle_cache import Cache, digest_of
from rackbox.bundle_pins import Pins
from rackbox.bundle_recipe import Manifest
from rackbox.bundle_sbom import Part, file_part, make_bundle_sbom
from rackbox.errors import LabError
from rackbox.paths import Home

ROOM_MIB = 4000
"""Free space that a build needs at its peak: programs, images, and both once more while they are moved into place."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where parts are made: the cache, what the bundle is for, a place to work in, the log and who is told."""

    cache: Cache
    arch: str
    work: Path
    log: Path
    console: Console


@dataclass(slots=True)
class Parts:
    """What a bundle is put together from. ``entries`` are lists of the manifest, without size and checksum;
    ``versions`` those of components that are not pinned, by their name."""

    files: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    manifests: list[dict[str, Any]] = field(default_factory=list)
    materials: list[Part] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


@contextmanager
def bundle_builder(home: Home) -> Iterator[Path]:
    """Hold the lock on all bundles, remove what a killed builder left, and give a directory to work in."""
    with alone(home.bundles / ".lock", "build of a bundle"):
        for stale in home.bundles.glob(".build-*"):
            remove_tree(stale)
        if (free := shutil.disk_usage(home.bundles).free >> 20) < ROOM_MIB:
            hint = "make room, or set RACKBOX_HOME to a directory that has it"
            raise LabError(f"{home.bundles}: a bundle needs {ROOM_MIB} MiB to be made; free are {free} MiB", hint)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=home.bundles) as directory:
            yield Path(directory)


def assemble(
    home: Home, out: Path, pins: Pins, arch: str, source: str, parts: Parts, more: Mapping[str, str]
) -> Bundle:
    """Write manifest and SBOM beside the parts in ``out``, and have it all appear in the catalogue by one rename."""
    for entry in (*parts.files, *parts.images, *parts.manifests):
        path = out / entry["path"]
        entry["sha256"], entry["size"] = sha256_of(path), path.stat().st_size
    listed = [*parts.files, *parts.images, *parts.manifests]
    content = digest_of(sorted((entry["path"], entry["sha256"]) for entry in listed))
    version = f"{pins.kubernetes}-{arch}-{content[:8]}"
    there = {str(entry["component"]) for entry in listed}
    versions = {**pins.components, **pins.only_upstream, **parts.versions}
    built = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
    document = {
        "schema": SCHEMA,
        "kind": KIND,
        "version": version,
        "kubernetes": pins.kubernetes,
        "minor": pins.minor,
        "arch": arch,
        "from": source,
        "built": built.isoformat(timespec="seconds"),
        "rackbox": __version__,
        **more,
        "components": {name: versions[name] for name in versions if name in there},
        "files": parts.files,
        "images": parts.images,
        "manifests": parts.manifests,
    }
    parse_bundle(document, out)  # what we would not read must not be written
    own = [file_part(entry, versions[str(entry["component"])]) for entry in listed]
    sbom = make_bundle_sbom(document, [*own, *parts.materials])
    for name, made in ((MANIFEST, document), ("sbom.cdx.json", sbom)):
        (out / name).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    put_in_place(out, home.bundles / version)
    return read_bundle(home.bundles / version)


def add_manifest(parts: Parts, manifest: Manifest, source: Path, pins: Pins, out: Path) -> None:
    """Copy a file for kubectl, if it is the one that was pinned."""
    if (found := sha256_of(source)) != (wanted := pins.checksums.get(manifest.name, "")):
        raise LabError(
            f"{manifest.name} of {manifest.component} {pins.components[manifest.component]}: "
            f"SHA-256 must be {wanted or 'pinned'}; got {found}",
            f"read it, then write its checksum into packaging/bundle/{pins.minor}.yaml",
        )
    path = f"manifests/{manifest.name}"
    shutil.copyfile(source, out / path)
    parts.manifests.append({"path": path, "component": manifest.component, "images": images_named(out / path)})


def images_named(manifest: Path) -> list[str]:
    """The images that a file for kubectl names, each once."""
    names: list[str] = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        key, _, value = line.strip().removeprefix("- ").partition(": ")
        name = value.strip().strip("'\"")
        if key == "image" and name not in names:
            names.append(name)
    return names


def put_in_place(out: Path, target: Path) -> None:
    """Have the version appear whole, and stay through a power cut. One of the same name is the same, or damaged."""
    for path in sorted(out.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    for directory in (out, *(path for path in out.iterdir() if path.is_dir())):
        sync_directory(directory)
    if target.exists():
        old = target.with_name(f".build-old-{target.name}")
        target.rename(old)
        out.rename(target)
        remove_tree(old)
    else:
        out.rename(target)
    sync_directory(target.parent)

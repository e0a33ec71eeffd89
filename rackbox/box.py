"""Boxes and their catalogue: versions of a base box on disk, as a ``metadata.json`` that stock Vagrant understands.

``boxes/<os>/metadata.json`` names every version with the SHA-256 of its file; ``boxes/<os>/<provider>/<version>/``
holds the box and its manifest. A version appears in the catalogue after its files are complete, by one atomic rename.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rackbox.errors import LabError

CHUNK = 1 << 20
REBUILD = "build the box again with `./lab image`"


@dataclass(frozen=True, slots=True)
class Box:
    """One version of a box. ``sha256`` is the box file's."""

    os: str
    provider: str
    version: str
    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return f"rackbox/{self.os}"

    @property
    def manifest(self) -> Path:
        return self.path.parent / "manifest.json"


def catalogue_path(boxes: Path, os_name: str) -> Path:
    return boxes / os_name / "metadata.json"


def box_path(boxes: Path, os_name: str, provider: str, version: str) -> Path:
    return boxes / os_name / provider / version / f"rackbox-{os_name}-{provider}-{version}.box"


def metadata_of(boxes: Path, box: Box) -> Path:
    """The catalogue to install a version from: the common one, which Vagrant then asks for newer ones, if it names it,
    else the version's own."""
    common = catalogue_path(boxes, box.os)
    is_good = any(other.version == box.version for other in list_boxes(boxes, box.os, box.provider))
    return common if is_good else box.path.parent / "metadata.json"


def list_boxes(boxes: Path, os_name: str, provider: str) -> list[Box]:
    """All versions, oldest first."""
    path = catalogue_path(boxes, os_name)
    found = []
    try:
        for version in _load(path)["versions"]:
            for entry in version["providers"]:
                if entry["name"] == provider:
                    file = Path(unquote(urlsplit(entry["url"]).path))
                    found.append(Box(os_name, provider, version["version"], file, entry["checksum"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise LabError(f"{path}: not a box catalogue: {error!r}", f"remove it, then {REBUILD}") from error
    return found


def current_box(boxes: Path, os_name: str, provider: str) -> Box | None:
    """The newest version, or None where there is none."""
    versions = list_boxes(boxes, os_name, provider)
    return versions[-1] if versions else None


def check_box(box: Box) -> None:
    """Raise unless the box's file is there, whole and unchanged (its SHA-256)."""
    if not box.path.exists():
        raise LabError(f"{box.path}: the box's file is not there", REBUILD)
    found = sha256_of(box.path)
    if found != box.sha256:
        raise LabError(
            f"{box.path}: truncated or changed: SHA-256 must be {box.sha256}; got {found}",
            REBUILD,
        )


def promote_box(boxes: Path, box: Box) -> None:
    """Enter a complete box into the catalogue as its newest version."""
    older = [other for other in list_boxes(boxes, box.os, box.provider) if other.version != box.version]
    save_catalogue(boxes, box.os, box.provider, [*older, box])


def save_catalogue(boxes: Path, os_name: str, provider: str, good: Sequence[Box]) -> None:
    """Have the catalogue name just these boxes of that provider, the last one being current; others' stay."""
    path = catalogue_path(boxes, os_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    entries: dict[str, list[dict[str, Any]]] = {}
    for version in _load(path)["versions"]:
        others = [entry for entry in version["providers"] if entry["name"] != provider]
        if others:
            entries[version["version"]] = others
    for box in good:
        entry = {"name": provider, "url": box.path.as_uri(), "checksum_type": "sha256", "checksum": box.sha256}
        entries[box.version] = [*entries.pop(box.version, []), entry]
    catalogue = {
        "name": f"rackbox/{os_name}",
        "description": f"{os_name} with every rackbox role's packages, LVM-ready, services off",
        "versions": [{"version": version, "providers": entries[version]} for version in entries],
    }
    write_whole(path, json.dumps(catalogue, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a crash or a power cut leaves the old one or the new one, never half of one."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Have the disk know what a directory holds: a rename is durable only then (fsync(2))."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _load(path: Path) -> dict[str, Any]:
    try:
        catalogue = json.loads(path.read_text())
    except FileNotFoundError:
        return {"name": "", "versions": []}
    except ValueError as error:
        raise LabError(f"{path}: not valid JSON: {error}", f"remove it, then {REBUILD}") from error
    if not isinstance(catalogue, dict) or not isinstance(catalogue.get("versions"), list):
        raise LabError(f"{path}: not a box catalogue", f"remove it, then {REBUILD}")
    return catalogue

"""Boxes and their catalogue: versions of a base box on disk, as a ``metadata.json`` that stock Vagrant understands.

``boxes/<os>/metadata.json`` names every version with the SHA-256 of its file; ``boxes/<os>/<provider>/<version>/``
holds the box and its manifest. A version appears in the catalogue after its files are complete, by one atomic rename.
"""

from __future__ import annotations

import hashlib
import json
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
    path = catalogue_path(boxes, box.os)
    path.parent.mkdir(parents=True, exist_ok=True)
    catalogue = _load(path)
    catalogue["name"] = box.name
    catalogue["description"] = f"{box.os} with every rackbox role's packages, LVM-ready, services off"
    entry = {"name": box.provider, "url": box.path.as_uri(), "checksum_type": "sha256", "checksum": box.sha256}
    versions = [version for version in catalogue["versions"] if version["version"] != box.version]
    same = [version for version in catalogue["versions"] if version["version"] == box.version]
    others = [other for version in same for other in version["providers"] if other["name"] != box.provider]
    versions.append({"version": box.version, "providers": [*others, entry]})
    catalogue["versions"] = versions
    part = path.with_suffix(".part")
    part.write_text(json.dumps(catalogue, indent=2) + "\n")
    part.replace(path)


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

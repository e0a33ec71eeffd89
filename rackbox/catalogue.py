"""The versions of a box, each with its state: what may be booted, gone back to, or thrown away.

Entry points: ``list_versions``, ``find_version``, ``roll_back``. ``boxes/<os>/metadata.json`` alone says what is good:
its newest version of a provider is ``current``, older ones are ``kept``. What has a directory and does not stand there
is ``withdrawn`` (current or kept until a rollback), ``failed`` (refused by the gate) or a ``candidate`` (not proven).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rackbox.box import Box, box_path, list_boxes, save_catalogue, write_whole
from rackbox.errors import LabError
from rackbox.paths import Home

State = Literal["candidate", "current", "kept", "withdrawn", "failed"]
MARK = "state.json"


@dataclass(frozen=True, slots=True)
class BoxVersion:
    """``built`` is when (UTC), ``size`` the bytes of the version's directory: box, manifest, logs; ``reason`` why it
    failed or was withdrawn."""

    os: str
    provider: str
    version: str
    state: State
    built: datetime
    size: int
    box: Box
    reason: str = ""

    @property
    def directory(self) -> Path:
        return self.box.path.parent

    @property
    def sbom(self) -> Path:
        return self.directory / "sbom.cdx.json"

    @property
    def logs(self) -> Path:
        """What the gate saw of it."""
        return self.directory / "gate"


def list_versions(home: Home, os_name: str, provider: str) -> tuple[BoxVersion, ...]:
    """All versions on disk, oldest first, whatever their state."""
    good = [box.version for box in list_boxes(home.boxes, os_name, provider)]
    found = []
    for directory in sorted((home.boxes / os_name / provider).glob("*/")):
        manifest = read_json(directory / "manifest.json")
        path = box_path(home.boxes, os_name, provider, directory.name)
        if not manifest:
            continue  # not a version: something else that stands there
        mark = read_json(directory / MARK)
        state, reason = _state(directory.name, good, mark.get("state"), str(mark.get("reason", "")))
        box = Box(os_name, provider, directory.name, path, str(manifest.get("sha256", "")))
        size = sum(file.lstat().st_size for file in directory.rglob("*") if file.is_file())
        built = _built(manifest, path)
        found.append(BoxVersion(os_name, provider, directory.name, state, built, size, box, reason))
    return tuple(sorted(found, key=lambda version: (version.built, version.version)))


def find_version(home: Home, os_name: str, provider: str, version: str) -> BoxVersion:
    """That version, or the one whose name begins so; ``current`` names the current one."""
    versions = list_versions(home, os_name, provider)
    if version == "current":
        found = [item for item in versions if item.state == "current"]
    else:
        found = [item for item in versions if item.version == version] or [
            item for item in versions if version and item.version.startswith(version)
        ]
    if len(found) != 1:
        known = ", ".join(item.version for item in versions) or "none"
        what = "is not there" if not found else "is more than one"
        raise LabError(f"box rackbox/{os_name} for {provider}: version {version!r} {what}", f"there is: {known}")
    return found[0]


def mark_version(version_directory: Path, state: State, reason: str = "") -> None:
    """Note what became of a version that is not in the catalogue."""
    write_whole(version_directory / MARK, json.dumps({"state": state, "reason": reason}, indent=2) + "\n")


def roll_back(home: Home, os_name: str, provider: str, version: str = "") -> BoxVersion:
    """Make an older good version current again (default: the one before); newer ones are ``withdrawn``."""
    versions = list_versions(home, os_name, provider)
    current = next((item for item in versions if item.state == "current"), None)
    kept = [item for item in versions if item.state in ("kept", "withdrawn")]
    if version:
        target = find_version(home, os_name, provider, version)
        if target.state == "current":
            return target
        if target not in kept:
            raise LabError(
                f"box {target.box.name} {target.version} is {target.state}: only a good version can be gone back to",
                f"good: {', '.join(item.version for item in kept) or 'none but the current'}",
            )
    else:
        older = [item for item in kept if item.state == "kept"]
        if current is None or not older:
            raise LabError(
                f"box rackbox/{os_name} for {provider}: there is no older good version to go back to",
                "`./lab image.list` shows what there is",
            )
        target = older[-1]
    if not target.box.path.exists():
        raise LabError(f"{target.box.path}: the box's file is not there", "choose another version")
    good = [item.box for item in versions if item.state in ("current", "kept") and item.built < target.built]
    for item in versions:
        if item.state in ("current", "kept") and item.built > target.built:
            mark_version(item.directory, "withdrawn", f"gone back to {target.version}")
    save_catalogue(home.boxes, os_name, provider, [*good, target.box])
    return next(item for item in list_versions(home, os_name, provider) if item.version == target.version)


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; empty where there is none that can be read."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _state(version: str, good: Sequence[str], marked: object, reason: str) -> tuple[State, str]:
    """What the catalogue says goes before what is noted beside the box."""
    if version in good:
        return ("current" if version == good[-1] else "kept"), ""
    if marked == "withdrawn" or marked == "failed":
        return ("withdrawn" if marked == "withdrawn" else "failed"), reason
    return "candidate", ""


def _built(manifest: dict[str, Any], path: Path) -> datetime:
    try:
        return datetime.fromisoformat(str(manifest["built"])).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.fromtimestamp(path.stat().st_mtime if path.exists() else 0, UTC)

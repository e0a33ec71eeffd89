"""What differs between two boxes, or between a box and what a build would give now. Pure.

Entry points: ``compare_packages``, ``compare_manifests``, ``list_changes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rackbox.manifest import Package, Resolved, packages_of

SECURITY = "  [security]"


@dataclass(frozen=True, slots=True)
class Change:
    """One package: ``old`` is empty where it is added, ``new`` where it is removed. ``security``: the new version is in
    the archive's security suite."""

    name: str
    old: str
    new: str
    security: bool = False

    def __str__(self) -> str:
        mark = SECURITY if self.security else ""
        if not self.old:
            return f"added    {self.name} {self.new}{mark}"
        if not self.new:
            return f"removed  {self.name} {self.old}"
        return f"changed  {self.name} {self.old} → {self.new}{mark}"


def compare_packages(old: Mapping[str, Package], new: Mapping[str, Package]) -> tuple[Change, ...]:
    """By name, sorted. A package of another architecture is another version of it."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if _identity(before) == _identity(after):
            continue
        same_version = before is not None and after is not None and before.version == after.version
        found.append(
            Change(
                name,
                _name_version(before, architecture=same_version),
                _name_version(after, architecture=same_version),
                bool(after and after.is_security),
            )
        )
    return tuple(found)


def compare_manifests(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Lines for a person: the recipe, then the packages."""
    lines = []
    if old.get("recipe") != new.get("recipe"):
        lines.append(f"recipe   {_revision(old)} → {_revision(new)}")
    return (*lines, *(str(change) for change in compare_packages(packages_of(old), packages_of(new))))


def list_changes(
    old: Mapping[str, Any], recipe: str, resolved: Resolved, revision: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """What would be other in a box that is built now, compared with the manifest of one that is there."""
    return compare_manifests(old, {"recipe": recipe, "revision": revision, **_as_manifest(resolved)})


def is_same(old: Mapping[str, Any], recipe: str, resolved: Resolved) -> bool:
    """Whether a build now would give that box again."""
    return bool(old) and not list_changes(old, recipe, resolved)


def _as_manifest(resolved: Resolved) -> dict[str, Any]:
    names = ("name", "version", "architecture", "origin")
    return {"packages": [{name: getattr(item, name) for name in names} for item in resolved.packages.values()]}


def _identity(package: Package | None) -> tuple[str, str] | None:
    return (package.version, package.architecture) if package else None


def _name_version(package: Package | None, *, architecture: bool) -> str:
    if package is None:
        return ""
    return f"{package.version} ({package.architecture})" if architecture else package.version


def _revision(manifest: Mapping[str, Any]) -> str:
    """How a person recognises a recipe: its commit, else the beginning of its digest."""
    revision = manifest.get("revision")
    if isinstance(revision, dict) and revision.get("commit"):
        return f"{revision['commit'][:12]}{' with changes' if revision.get('dirty') else ''}"
    return str(manifest.get("recipe", "unknown"))[:12]

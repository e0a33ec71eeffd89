"""Which versions a bundle is made of: ``packaging/bundle/<minor>.yaml``, one file a minor that can be built.

Entry points: ``load_pins``, ``list_minors``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackbox.bundle import minor_of, release_numbers
from rackbox.errors import LabError
from rackbox.paths import PROJECT
from rackbox.yamlfile import load_yaml

DATA = PROJECT / "packaging" / "bundle"
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[a-z0-9.]+)?")


@dataclass(frozen=True, slots=True)
class Pins:
    """One minor. ``components`` maps each to its version; ``only_upstream`` those that no module brings; ``modules``
    the directory of each component's go.mod; ``floors`` the least version of what may come from elsewhere;
    ``checksums`` the SHA-256 of manifests."""

    kubernetes: str
    components: Mapping[str, str]
    only_upstream: Mapping[str, str]
    modules: Mapping[str, Path]
    floors: Mapping[str, str]
    checksums: Mapping[str, str]

    @property
    def minor(self) -> str:
        return minor_of(self.kubernetes)


def list_minors(data: Path = DATA) -> tuple[str, ...]:
    """The minors that there are versions for, oldest first."""
    names = [path.stem for path in data.glob("*.yaml") if re.fullmatch(r"\d+\.\d+", path.stem)]
    return tuple(sorted(names, key=release_numbers))


def load_pins(minor: str = "", data: Path = DATA) -> Pins:
    """The versions of a minor (default: the newest); raises ``LabError`` for one that is not there."""
    minors = list_minors(data)
    minor = minor or minors[-1]
    if minor not in minors:
        raise LabError(f"minor: must be one of {', '.join(minors)}; got {minor}")
    path = data / f"{minor}.yaml"
    document = load_yaml(path).data
    kubernetes = _version(path, "kubernetes", document.get("kubernetes"))
    if minor_of(kubernetes) != minor:
        raise LabError(f"{path}: kubernetes: must be a release of {minor}; got {kubernetes}")
    components = {"kubernetes": kubernetes, **_versions(path, "components", document)}
    directories = document.get("modules") or {}
    return Pins(
        kubernetes=kubernetes,
        components=components,
        only_upstream=_versions(path, "only_upstream", document),
        modules={name: data / "modules" / str(directories.get(name, name)) for name in components},
        floors=_versions(path, "floors", document),
        checksums={str(name): str(value) for name, value in (document.get("checksums") or {}).items()},
    )


def _versions(path: Path, key: str, document: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): _version(path, f"{key}.{name}", value) for name, value in (document.get(key) or {}).items()}


def _version(path: Path, where: str, value: object) -> str:
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise LabError(f"{path}: {where}: must be a version such as 1.2.3; got {value!r}")
    return value

"""What a box was made of, as data: packages, the archive's Release files, tools, the recipe.

Entry points: ``parse_resolved`` and ``parse_packages`` (what the recipe's scripts leave), ``make_manifest``,
``packages_of``. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any

SCHEMA = 2
"""2: packages say where they come from, the recipe has its git revision. 1 had neither."""


@dataclass(frozen=True, slots=True)
class Package:
    """One binary package. ``origin`` is ``origin:version/suite`` as apt prints it, several where several archives have
    it; ``sha256`` is the .deb's; empty where that is not known."""

    name: str
    version: str
    architecture: str
    origin: str = ""
    sha256: str = ""
    source: str = ""
    source_version: str = ""

    @property
    def is_security(self) -> bool:
        """Whether the archive's security suite has this version."""
        return any(origin.strip().endswith("-security") for origin in self.origin.split(","))


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a build would install: the solver's answer, and the Release files of the archive that it was asked of."""

    packages: Mapping[str, Package]
    sources: tuple[Mapping[str, str], ...]

    @property
    def epoch(self) -> int:
        """The newest of the Release files' dates: the newest time stamp that a tree of these inputs may have."""
        return max((_seconds(source["Date"]) for source in self.sources if "Date" in source), default=0)


def parse_resolved(packages: str, sources: str) -> Resolved:
    """``resolved.tsv`` and ``sources.txt`` of packer/rootfs/resolve.sh."""
    rows = (line.split("\t") for line in packages.splitlines())
    found = {row[0]: Package(row[0], row[1], row[2], row[3], row[4]) for row in rows}
    return Resolved(found, parse_sources(sources))


def parse_sources(text: str) -> tuple[Mapping[str, str], ...]:
    """Blocks of ``Field: value`` lines."""
    blocks = (block.splitlines() for block in text.strip().split("\n\n"))
    pairs = ([line.partition(": ") for line in block] for block in blocks)
    return tuple({name: value for name, _, value in block} for block in pairs if block)


def parse_packages(text: str, resolved: Mapping[str, Package]) -> dict[str, Package]:
    """``packages.tsv``: what dpkg says is installed, with the solver's word on where each comes from."""
    found = {}
    for name, version, architecture, source, source_version in (line.split("\t") for line in text.splitlines()):
        known = resolved.get(name)
        origin, sha256 = (known.origin, known.sha256) if known and known.version == version else ("", "")
        found[name] = Package(name, version, architecture, origin, sha256, source, source_version)
    return found


def make_manifest(
    header: Mapping[str, Any],
    packages: Iterable[Package],
    sources: Sequence[Mapping[str, str]],
    tools: Sequence[str],
    lvm: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """The document that lies beside a box as ``manifest.json``. ``lvm`` is the table of its volumes, None where its
    provider has none."""
    return {
        "schema": SCHEMA,
        **header,
        "tools": list(tools),
        "lvm": None if lvm is None else list(lvm),
        "sources": [dict(source) for source in sources],
        "packages": [asdict(package) for package in packages],
    }


def packages_of(manifest: Mapping[str, Any]) -> dict[str, Package]:
    """The packages that a manifest (of any schema) lists; none where it cannot be understood."""
    try:
        rows = [{key: str(value) for key, value in row.items()} for row in manifest["packages"]]
        return {row["name"]: Package(**row) for row in rows}
    except (KeyError, TypeError, AttributeError):
        return {}


def _seconds(date: str) -> int:
    """A Release file's date, RFC 2822 with UTC for a zone."""
    return int(parsedate_to_datetime(date.replace("UTC", "+0000")).timestamp())

"""Reads what rackbox renders from: the ``provision/`` tree, the cloud-init templates and the Vagrantfile template.

Entry point: ``load_sources``. This is the edge that makes data of the files, so that ``render`` needs no disk.

The tree: ``provision/lib/`` goes to every machine; ``provision/common/`` and ``provision/<role>/`` hold a machine's
hooks (``NN-verb-noun.sh``, ``status.sh``) and, below ``files/``, its config files at their absolute paths. A
config file that ends in ``.j2`` is a template and loses that ending; its path may hold ``{{ … }}`` too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rackbox.errors import LabError
from rackbox.paths import PROJECT

VAGRANTFILE = "Vagrantfile.j2"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the ``provision/`` tree. ``path`` is relative to it."""

    path: str
    content: str
    executable: bool


@dataclass(frozen=True, slots=True)
class Sources:
    """``templates`` by name (``Vagrantfile.j2``, ``cloud-init/user-data.j2`` …); the ``provision/`` tree by path."""

    templates: Mapping[str, str]
    tree: tuple[SourceFile, ...]

    def below(self, directory: str) -> tuple[SourceFile, ...]:
        return tuple(file for file in self.tree if file.path.startswith(f"{directory}/"))


def load_sources(project: Path = PROJECT) -> Sources:
    """Read everything ``render`` prints from. Raises ``LabError`` if the installation is not whole."""
    provision = project / "provision"
    try:
        templates = {VAGRANTFILE: _read(project / VAGRANTFILE)}
        for path in sorted((project / "cloud-init").glob("*.j2")):
            templates[f"cloud-init/{path.name}"] = _read(path)
        tree = tuple(
            SourceFile(path.relative_to(provision).as_posix(), _read(path), os.access(path, os.X_OK))
            for path in sorted(provision.rglob("*"))
            if path.is_file() and path.suffix != ".md"
        )
    except OSError as error:
        raise LabError(
            f"cannot read rackbox's own files: {error}", "is this clone complete? try `git status`"
        ) from error
    return Sources(templates, tree)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")

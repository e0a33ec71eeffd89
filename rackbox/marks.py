"""A note on disk of the fault that is being made, so that a test that was killed is healed by whoever comes next.

Written before anything is broken, removed when it is healed. Entry points: ``mark_fault``, ``read_mark``,
``clear_mark``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rackbox.errors import LabError
from rackbox.paths import LabPaths


@dataclass(frozen=True, slots=True)
class Mark:
    """``fault`` was being made on ``machines``."""

    fault: str
    machines: tuple[str, ...]


def mark_fault(paths: LabPaths, fault: str, machines: Sequence[str]) -> None:
    """Raises ``LabError`` when it cannot be written: then nothing must be broken."""
    path = _path(paths)
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"fault": fault, "machines": list(machines)}) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}", "free some space where the lab's files are") from error


def read_mark(paths: LabPaths) -> Mark | None:
    """What was left behind; None: nothing, or nothing that can be read."""
    try:
        found = json.loads(_path(paths).read_text(encoding="utf-8"))
        return Mark(str(found["fault"]), tuple(map(str, found["machines"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def clear_mark(paths: LabPaths) -> None:
    """Idempotent."""
    _path(paths).unlink(missing_ok=True)


def _path(paths: LabPaths) -> Path:
    return paths.root / "fault.json"

"""What was built before and is still of use: each component's programs, kept by what they were made from.

An entry is a directory that appears complete by one rename; what a killed build left is in the work directory alone.
Entry points: ``Cache.find``, ``Cache.keep``, ``digest_of``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackbox.box import sha256_of
from rackbox.builders import remove_tree
from rackbox.catalogue import read_json

INFO = "info.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """A component that is there: its directory, the SHA-256 of each of its files, and what it noted of itself."""

    directory: Path
    files: Mapping[str, str]
    notes: Mapping[str, Any]

    def path(self, name: str) -> Path:
        return self.directory / name


KEPT_S = 60 * 86400.0
"""How long a component that no build has used stays in the cache."""


@dataclass(frozen=True, slots=True)
class Cache:
    """``directory`` may be removed at any time."""

    directory: Path

    def find(self, name: str, key: str) -> Kept | None:
        """The entry, if it is there and unchanged."""
        directory = self._entry(name, key)
        info = read_json(directory / INFO)
        files = info.get("files")
        if not isinstance(files, dict) or info.get("key") != key:
            return None
        try:
            whole = all(sha256_of(directory / file) == sha256 for file, sha256 in files.items())
        except OSError:
            whole = False
        return Kept(directory, files, info.get("notes") or {}) if whole else None

    def keep(self, name: str, key: str, made: Path, notes: Mapping[str, Any]) -> Kept:
        """Take in a directory (on the same file system) with what was made."""
        files = {path.name: sha256_of(path) for path in sorted(made.iterdir())}
        info = {"key": key, "files": files, "notes": notes}
        (made / INFO).write_text(json.dumps(info, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        target = self._entry(name, key)
        if target.exists():
            remove_tree(target)
        self.directory.mkdir(parents=True, exist_ok=True)
        made.rename(target)
        return Kept(target, files, notes)

    def drop_others(self, used: Mapping[str, str], age_s: float, now: float) -> None:
        """Remove entries that were not used for ``age_s`` seconds; ``used`` (name → key) are marked as used now."""
        for name, key in used.items():
            os.utime(self._entry(name, key) / INFO, (now, now))
        for info in self.directory.glob(f"*/{INFO}"):
            if now - info.stat().st_mtime > age_s:
                shutil.rmtree(info.parent, ignore_errors=True)

    def _entry(self, name: str, key: str) -> Path:
        return self.directory / f"{name}-{key[:16]}"


def digest_of(*parts: object) -> str:
    """SHA-256 over a JSON form of what something is made from."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_tree(directory: Path) -> str:
    """SHA-256 over every file below a directory, with its path."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(directory)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()

"""Kernel limits of the host that a lab of many system containers needs raised, and put back after the last lab.

Each container's systemd holds half a dozen inotify instances, and the kernel allows one user 128: from the tenth
machine on, some end at boot without a word ("Too many open files"). These limits have no namespace of their own.
"""

from __future__ import annotations

import json
from pathlib import Path

NEEDED = {"fs/inotify/max_user_instances": 4096, "fs/inotify/max_user_watches": 524288}
SYSCTL = Path("/proc/sys")


def raise_limits(record: Path, sysctl: Path = SYSCTL) -> dict[str, int]:
    """Raise what is too low; remember in ``record`` what it was. Returns what was changed, by sysctl name."""
    before = _read_record(record)
    changed = {}
    for name, needed in NEEDED.items():
        current = int((sysctl / name).read_text())
        if current < needed:
            before.setdefault(name, current)
            changed[name.replace("/", ".")] = needed
    if changed:
        record.parent.mkdir(parents=True, exist_ok=True)
        part = record.with_suffix(".part")
        part.write_text(json.dumps(before))
        part.replace(record)
        for name, value in changed.items():
            (sysctl / name.replace(".", "/")).write_text(str(value))
    return changed


def restore_limits(record: Path, sysctl: Path = SYSCTL) -> None:
    """Put the limits back as they were found, unless somebody else has set another value since. Idempotent."""
    for name, value in _read_record(record).items():
        path = sysctl / name
        if int(path.read_text()) == NEEDED[name]:
            path.write_text(str(value))
    record.unlink(missing_ok=True)


def _read_record(record: Path) -> dict[str, int]:
    """What was found before, by path below /proc/sys; nothing where the record is not there or was cut off."""
    try:
        before: dict[str, int] = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return before

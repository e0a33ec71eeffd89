"""Kernel settings of the host that a lab of many system containers needs, and that are put back after the last lab.

Each container's systemd holds half a dozen inotify instances, and the kernel allows one user 128: from the tenth
machine on, some end at boot without a word ("Too many open files").

With autogroups (sched(7)) the kernel shares processors out between sessions, and a service is one: its ``Nice=`` then
counts for nothing beside other services. Without them, what machines are there for (HAProxy, etcd) goes before what one
that boots, or joins a cluster again, has to do: with real machines the one would not feel the other at all.

None of these has a namespace of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

NEEDED = {"fs/inotify/max_user_instances": 4096, "fs/inotify/max_user_watches": 524288}
"""Raised to that where it is less."""
NO_AUTOGROUPS = {"kernel/sched_autogroup_enabled": 0}
"""Set to that, where the kernel has it."""
SYSCTL = Path("/proc/sys")


def raise_limits(record: Path, sysctl: Path = SYSCTL) -> dict[str, int]:
    """Raise what is too low; remember in ``record`` what it was. Returns what was changed, by sysctl name."""
    before = _read_record(record)
    changed = {}
    for name, needed in (NEEDED | NO_AUTOGROUPS).items():
        if name in NO_AUTOGROUPS and not (sysctl / name).exists():
            continue
        current = int((sysctl / name).read_text())
        if current < needed or (name in NO_AUTOGROUPS and current != needed):
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
    """Put all back as it was found, unless somebody else has set another value since. Idempotent."""
    for name, value in _read_record(record).items():
        path = sysctl / name
        if int(path.read_text()) == (NEEDED | NO_AUTOGROUPS)[name]:
            path.write_text(str(value))
    record.unlink(missing_ok=True)


def _read_record(record: Path) -> dict[str, int]:
    """What was found before, by path below /proc/sys; nothing where the record is not there or was cut off."""
    try:
        before: dict[str, int] = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return before

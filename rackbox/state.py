"""What a lab's last ``up`` left behind, in ``lab.json``: small, written atomically, read by every other command.

It says what was asked for and how far it came. Whether machines run *now* is asked of the provider, never of this file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from rackbox.errors import LabError

SCHEMA = 1
Phase = Literal["absent", "starting", "failed", "up", "stopped"]


@dataclass(frozen=True, slots=True)
class LabState:
    """``digests`` holds, per machine, what it was booted from; ``failed`` the machines that did not come up; ``bundle``
    the directory of the Kubernetes bundle, "" where the lab has no cluster; ``upgraded`` that of the machines which an
    upgrade that is not finished has on another one already; ``masters`` those of the last ``up`` that came to its end,
    and ``founders`` those of the first, who founded etcd's cluster: both empty before; ``stacked``: its members are
    pods; ``runtime``: what runs the containers."""

    lab: str
    lab_file: str
    provider: str
    box: str = ""
    box_version: str = ""
    phase: Phase = "absent"
    digests: dict[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    forward_pid: int = 0
    bundle: str = ""
    upgraded: dict[str, str] = field(default_factory=dict)
    founders: tuple[str, ...] = ()
    masters: tuple[str, ...] = ()
    stacked: bool = False
    runtime: str = "containerd"

    def with_(self, **changes: object) -> LabState:
        return replace(self, **changes)  # type: ignore[arg-type] # names are checked by replace itself


def load_state(path: Path) -> LabState | None:
    """The state on disk, or None where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.pop("schema") != SCHEMA:
            raise ValueError(f"not a state of schema {SCHEMA}")
        for name in ("failed", "founders", "masters"):
            data[name] = tuple(data.get(name, ()))
        return LabState(**data)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path}: cannot be read: {error}", f"remove {path}, then the lab with `./lab down`") from error


def save_state(path: Path, state: LabState) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"schema": SCHEMA, **asdict(state)}, indent=2) + "\n")
    part.replace(path)

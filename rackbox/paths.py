"""Where a lab's files are. Pure: it names paths and makes none.

Kept data is under ``$RACKBOX_HOME`` (default ``$XDG_DATA_HOME/rackbox``, that is ``~/.local/share/rackbox``), what dies
with the computer's next boot under ``/run/rackbox`` (``$XDG_RUNTIME_DIR/rackbox`` for users without root).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Home:
    """The directories shared by all labs of a user."""

    data: Path
    runtime: Path

    @property
    def boxes(self) -> Path:
        return self.data / "boxes"

    @property
    def bundles(self) -> Path:
        """Kubernetes bundles, one directory a version."""
        return self.data / "bundles"

    @property
    def vagrant(self) -> Path:
        """VAGRANT_HOME: ours alone, so the user's own boxes and plugins are never touched."""
        return self.data / "vagrant"

    @property
    def labs(self) -> Path:
        return self.data / "labs"

    @property
    def runs(self) -> Path:
        return self.data / "runs"

    def lab(self, name: str) -> LabPaths:
        return LabPaths(self.labs / name, self.runtime / name, self.runs / name)


@dataclass(frozen=True, slots=True)
class LabPaths:
    """One lab's directories: ``root`` lives as long as the lab, ``runtime`` until the computer's next boot, and
    ``runs``, the failover tests' histories, for ever."""

    root: Path
    runtime: Path
    runs: Path

    @property
    def state(self) -> Path:
        return self.root / "lab.json"

    @property
    def booted(self) -> Path:
        """A copy of the lab's YAML as of its last `up`: `down` works whatever has become of the file."""
        return self.root / "lab.yaml"

    @property
    def home(self) -> Path:
        """Names the RACKBOX_HOME that the lab was booted with, for whoever comes with another."""
        return self.runtime / "home"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def rendered(self) -> Path:
        return self.root / "rendered"

    @property
    def machines(self) -> Path:
        return self.root / "machines"

    @property
    def kept(self) -> Path:
        """What a machine takes along from its old root to its new one while it is renewed: one archive a machine."""
        return self.root / "kept"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


def find_home(env: Mapping[str, str], user_home: Path, uid: int) -> Home:
    """The directories for this user, from the environment."""
    data = env.get("RACKBOX_HOME")
    base = Path(data) if data else Path(env.get("XDG_DATA_HOME") or user_home / ".local/share") / "rackbox"
    if uid == 0:
        runtime = Path("/run/rackbox")
    else:
        runtime = Path(env.get("XDG_RUNTIME_DIR") or f"/tmp/rackbox-{uid}") / "rackbox"  # noqa: S108
    return Home(base.absolute(), runtime)

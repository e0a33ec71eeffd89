"""One builder at a time, and nothing of a builder that was killed. Entry points: ``builder``, ``remove_leftovers``.

A builder that ends in any way lets go of the lock; what it left is removed by the next, which alone may act then.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rackbox.catalogue import list_versions
from rackbox.errors import LabBusy, LabError
from rackbox.paths import Home


@contextmanager
def builder(home: Home, os_name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock on all boxes of an OS: their catalogue is one file. With ``wait``, another builder's end is waited
    for."""
    with alone(home.boxes / f".{os_name}.lock", f"build of {os_name}", wait=wait):
        yield


@contextmanager
def alone(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock on a file, which is made if need be; raise ``LabBusy`` if somebody else does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LabBusy(f"another {what} is under way", "wait for it to end") from None
        yield


def remove_leftovers(home: Home, os_name: str) -> None:
    """What a killed builder left: its directory, and a version that nobody will prove any more. Needs the lock."""
    for stale in home.boxes.glob(f"{_prefix(os_name)}*"):
        remove_tree(stale)
    for provider in (home.boxes / os_name).glob("*/"):
        for version in list_versions(home, os_name, provider.name):
            if version.state == "candidate":
                remove_tree(version.directory)


@contextmanager
def work_directory(home: Home, os_name: str) -> Iterator[Path]:
    """A directory to build in, on the catalogue's own file system."""
    with tempfile.TemporaryDirectory(prefix=_prefix(os_name), dir=home.boxes) as directory:
        yield Path(directory)


def _prefix(os_name: str) -> str:
    return f".build-{os_name}-"


def remove_tree(directory: Path) -> None:
    """Remove a directory, unless something is mounted in it: whatever that leads to is not ours."""
    if mounted := mounts_below(directory):
        raise LabError(f"{directory}: something is mounted there: {', '.join(mounted)}", "unmount it first")
    shutil.rmtree(directory, ignore_errors=True)


def mounts_below(directory: Path, mounts: Path = Path("/proc/self/mountinfo")) -> list[str]:
    points = [line.split()[4].replace("\\040", " ") for line in mounts.read_text().splitlines()]
    return [point for point in points if Path(point).is_relative_to(directory)]

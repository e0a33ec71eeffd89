"""Throws away what no lab stands on and nobody would go back to. Entry points: ``prune``, ``find_users``.

Kept are the current version, the newest good ones beside it, the newest failed one (for its logs), and every version
that a lab which is up or kept is made of. What Vagrant has unpacked of the others goes, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rackbox.box import save_catalogue
from rackbox.builders import builder, mounts_below, remove_leftovers, remove_tree
from rackbox.catalogue import BoxVersion, list_versions
from rackbox.errors import LabError
from rackbox.locks import hold_lock
from rackbox.paths import Home
from rackbox.state import load_state

GOOD = frozenset({"current", "kept", "withdrawn"})


@dataclass(frozen=True, slots=True)
class Pruned:
    """``what`` reads ``version 20260101.1 (kept)`` or ``installed 20260101.1``; ``size`` is in bytes."""

    what: str
    path: Path
    size: int


def prune(home: Home, os_name: str, provider: str, keep: int, *, dry_run: bool = False) -> tuple[Pruned, ...]:
    """Remove all but ``keep`` good versions (the current one is always among them) and what nothing needs. With
    ``dry_run`` only say what would go. Raises ``LabBusy`` while a box is built."""
    if keep < 1:
        raise LabError(f"--keep: must be at least 1; got {keep}", "the current version always stays")
    with builder(home, os_name), hold_lock(home.vagrant / "boxes.lock"):
        if not dry_run:
            remove_leftovers(home, os_name)
        versions = list_versions(home, os_name, provider)
        used = find_users(home)
        staying = choose_staying(versions, keep, used)
        gone = [_version_gone(item) for item in versions if item not in staying]
        whose = {item.version for item in staying if item.state == "current"} | set(used)
        gone += _installed_gone(home, os_name, provider, whose)
        if not dry_run:
            _remove(home, os_name, provider, staying, gone)
    return tuple(gone)


def choose_staying(versions: Iterable[BoxVersion], keep: int, used: Iterable[str]) -> tuple[BoxVersion, ...]:
    """The versions that stay, oldest first. Pure."""
    versions = tuple(versions)
    good = [item for item in versions if item.state in ("current", "kept")]
    staying = {item.version for item in good[-keep:]} | set(used)
    staying |= {item.version for item in versions if item.state in ("current", "candidate")}
    failed = [item for item in versions if item.state == "failed"]
    newest_good = good[-1].built if good else None
    # A failed one says why there is nothing newer; once there is, it says nothing.
    staying |= {item.version for item in failed[-1:] if newest_good is None or item.built > newest_good}
    # What was taken back keeps the next rebuild from giving it again.
    withdrawn = [item for item in versions if item.state == "withdrawn"]
    staying |= {item.version for item in withdrawn[-1:]}
    return tuple(item for item in versions if item.version in staying)


def find_users(home: Home) -> dict[str, tuple[str, ...]]:
    """The labs that stand on each version: by what they noted, and by what their machines are overlays of."""
    users: dict[str, set[str]] = {}
    for root in sorted(home.labs.glob("*/")):
        paths = home.lab(root.name)
        versions = {_version_in(home, lower) for lower in _lower_directories(paths.machines)}
        try:
            state = load_state(paths.state)
        except LabError:  # a state that cannot be read is no reason to take a box away
            state = None
        if state is not None and state.phase != "absent":
            versions.add(state.box_version)
        for version in versions - {""}:
            users.setdefault(version, set()).add(root.name)
    for lower in _mounted_lowers():
        if version := _version_in(home, lower):
            users.setdefault(version, set())
    return {version: tuple(sorted(labs)) for version, labs in users.items()}


def _lower_directories(machines: Path) -> list[str]:
    """What LXC machines are overlays of: ``lxc.rootfs.path = overlay:LOWER:UPPER``."""
    found = []
    for config in machines.glob("*/config"):
        found += re.findall(r"^lxc\.rootfs\.path\s*=\s*overlay:([^:\n]+):", config.read_text(errors="replace"), re.M)
    return found


def _mounted_lowers(proc: Path = Path("/proc")) -> set[str]:
    """Lower directories of overlays that are mounted anywhere on this computer: labs have mount namespaces of their
    own, so every process is asked for its."""
    found: set[str] = set()
    seen: set[str] = set()
    for process in proc.glob("[0-9]*"):
        try:
            namespace = str((process / "ns/mnt").readlink())
            if namespace in seen:
                continue
            text = (process / "mountinfo").read_text(errors="replace")
        except OSError:  # it has ended, or is another user's
            continue
        seen.add(namespace)
        found |= {lower for value in re.findall(r"lowerdir=([^,\s]+)", text) for lower in value.split(":")}
    return found


def _version_in(home: Home, directory: str) -> str:
    """The version of an installed box that a directory is in; empty where it is in none."""
    path = Path(directory.replace("\\040", " "))
    boxes = home.vagrant / "boxes"
    return path.relative_to(boxes).parts[1] if path.is_relative_to(boxes) and path != boxes else ""


def _version_gone(item: BoxVersion) -> Pruned:
    return Pruned(f"version {item.version} ({item.state})", item.directory, item.size)


def _installed_gone(home: Home, os_name: str, provider: str, staying: set[str]) -> list[Pruned]:
    """What Vagrant has unpacked, of versions that no lab stands on: the next `up` that wants one installs it again."""
    installed = home.vagrant / "boxes" / f"rackbox-VAGRANTSLASH-{os_name}"
    places = sorted(installed.glob(f"*/{provider}"))
    return [
        Pruned(f"installed {place.parent.name}", place, _size(place))
        for place in places
        if place.parent.name not in staying
    ]


def _remove(home: Home, os_name: str, provider: str, staying: Iterable[BoxVersion], gone: Iterable[Pruned]) -> None:
    """The catalogue first: a version that is named there is there."""
    good = [item.box for item in staying if item.state in ("current", "kept")]
    save_catalogue(home.boxes, os_name, provider, good)
    for item in gone:
        if provider == "virtualbox" and item.what.startswith("installed"):
            from rackbox.providers.virtualbox import remove_base

            remove_base(item.path)
        remove_tree(item.path)
        parent = item.path.parent
        if item.what.startswith("installed") and not any(parent.iterdir()):
            parent.rmdir()


def _size(directory: Path) -> int:
    if mounts_below(directory):
        return 0
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())

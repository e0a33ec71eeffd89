"""The tasks `volume.*` and `snapshot.*`, which ``tasks.py`` takes in as collections. Like that file a switchboard."""

from __future__ import annotations

from rackbox.task import Context, command, group, lab_file

_NAME = "which one (default: last)"


@command(node="the machine's name", volume="the volume's name (etcd, var, …)", size="its new size, such as 4G")
def grow(_: Context, node: str, volume: str, size: str, lab: str = "") -> int:
    """Grow a volume of a virtual machine while it runs; nothing on it is touched."""
    from rackbox import volume_command

    return volume_command.grow(lab_file(lab), node, volume, size)


@command(tag="what to call it (default: last)")
def save(_: Context, lab: str = "", tag: str = "last") -> int:
    """Keep the whole running lab as it is now: memory and disks of all machines, at one moment."""
    from rackbox import snapshot

    return snapshot.save_command(lab_file(lab), tag)


@command(tag=_NAME)
def restore(_: Context, lab: str = "", tag: str = "last") -> int:
    """Put the whole lab back to what it was when it was saved, running."""
    from rackbox import snapshot

    return snapshot.restore_command(lab_file(lab), tag)


@command(name="list")
def list_snapshots(_: Context, lab: str = "", json: bool = False) -> int:
    """Show the lab's snapshots: when, how large, of which box."""
    from rackbox import snapshot

    return snapshot.list_command(lab_file(lab), json)


@command(tag=_NAME)
def remove(_: Context, lab: str = "", tag: str = "last") -> int:
    """Remove a snapshot."""
    from rackbox import snapshot

    return snapshot.remove_command(lab_file(lab), tag)


COLLECTIONS = (group("volume", grow), group("snapshot", save, restore, list_snapshots, remove))

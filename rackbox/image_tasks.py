"""The tasks `image.*`, which ``tasks.py`` takes in as a collection. Like that file a switchboard: each task parses its
options, calls one function and returns that function's exit code."""

from __future__ import annotations

from rackbox.task import Context, command, group

_OS = "which release: debian-13, debian-12, ubuntu-26.04 or ubuntu-24.04"
_PROVIDER = "for which provider: lxc, libvirt or virtualbox"


@command(
    name="build",
    default=True,
    os=_OS,
    provider=_PROVIDER,
    if_changed="only if it would come out other than the current box",
    no_gate="make it current without proving it in a small lab of its own",
)
def build_image(
    _: Context, os: str = "debian-13", provider: str = "lxc", if_changed: bool = False, no_gate: bool = False
) -> int:
    """Build the base box with Packer, prove it, and make it the current one (exit 1: it was refused)."""
    from rackbox import image

    return image.command(os, provider, if_changed, gate=not no_gate)


@command(name="list", os=_OS, provider=_PROVIDER)
def list_boxes(_: Context, os: str = "debian-13", provider: str = "lxc", json: bool = False) -> int:
    """Show every version of the box: state, age, size, changes, and the labs that stand on it."""
    from rackbox import shelf

    return shelf.list_command(os, provider, json)


@command(os=_OS, provider=_PROVIDER, old="a version, its beginning, or `current`", new="likewise")
def diff(_: Context, old: str, new: str, os: str = "debian-13", provider: str = "lxc", json: bool = False) -> int:
    """Show what changed from one version to another: recipe and packages, security updates marked."""
    from rackbox import shelf

    return shelf.diff_command(os, provider, old, new, json)


@command(os=_OS, provider=_PROVIDER, to="this version (default: the good one before the current)")
def rollback(_: Context, os: str = "debian-13", provider: str = "lxc", to: str = "") -> int:
    """Make an older good version current again; the next `up` of a lab that is down takes it."""
    from rackbox import shelf

    return shelf.rollback_command(os, provider, to)


@command(
    os=_OS,
    provider=_PROVIDER,
    keep="how many good versions stay, the current one among them",
    dry_run="only say what would go",
)
def prune(_: Context, os: str = "debian-13", provider: str = "lxc", keep: int = 3, dry_run: bool = False) -> int:
    """Remove older versions, and what Vagrant has unpacked of them, unless a lab stands on them."""
    from rackbox import shelf

    return shelf.prune_command(os, provider, keep, dry_run)


COLLECTION = group("image", build_image, list_boxes, diff, rollback, prune)

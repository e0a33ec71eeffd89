"""The seed of a virtual machine: cloud-init's NoCloud files as one small image. Entry point: ``write_seed``.

ISO 9660 with the volume label ``cidata``, as cloud-init's documentation of NoCloud asks for. Rock Ridge and Joliet keep
the files' names as they are.
"""

from __future__ import annotations

from pathlib import Path

from rackbox.run import run

FILES = ("user-data", "meta-data", "network-config")
LABEL = "cidata"


def write_seed(directory: Path, image: Path) -> None:
    """Make ``image`` of the three files in ``directory``; whoever has the old one open goes on reading that. It holds
    secrets: mode 0600."""
    image.parent.mkdir(parents=True, exist_ok=True)
    part = image.with_name(f"{image.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    names = [f"/{name}={directory / name}" for name in FILES]
    options = ["-quiet", "-volid", LABEL, "-joliet", "-rational-rock", "-graft-points"]
    run(["xorrisofs", *options, "-o", str(part), *names], timeout=30)
    part.replace(image)

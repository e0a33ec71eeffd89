"""A machine's seed as a disk: the files that cloud-init's NoCloud looks for, on a small ISO 9660 with the label cidata.

Entry point: ``write_seed``. The label is what cloud-init goes by, whatever kind of drive the image is in; Debian 12's
cloud kernel knows virtio's disks and no CD-ROM, so that is where it belongs. Rock Ridge and Joliet keep the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rackbox.run import run

FILES = ("user-data", "meta-data", "network-config")
LABEL = "cidata"


def write_seed(directory: Path, image: Path, names: Sequence[str] = FILES) -> None:
    """Make ``image`` of the files in ``directory``; whoever has the old one open goes on reading that, and it appears
    whole. Readable by its owner alone, since user-data holds keys."""
    image.parent.mkdir(parents=True, exist_ok=True)
    part = image.with_name(f"{image.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    grafts = [f"/{name}={directory / name}" for name in names]
    options = ["-quiet", "-volid", LABEL, "-joliet", "-rational-rock", "-graft-points"]
    try:
        run(["xorrisofs", *options, "-output", str(part), *grafts], timeout=60)
        part.replace(image)
    finally:
        part.unlink(missing_ok=True)

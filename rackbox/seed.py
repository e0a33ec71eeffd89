"""A machine's seed as a disk: the files that cloud-init's NoCloud looks for, on a small ISO 9660 with the label cidata.

Entry point: ``write_seed``. The label is what cloud-init goes by, whatever kind of drive the image is in; Debian 12's
cloud kernel knows virtio's disks and no CD-ROM, so that is where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rackbox.run import run

LABEL = "cidata"
FILES = ("user-data", "meta-data", "network-config")


def write_seed(directory: Path, image: Path, names: Sequence[str] = FILES) -> None:
    """Write ``image``, readable by its owner alone, since user-data holds keys. It appears whole."""
    part = image.with_name(image.name + ".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    argv = ["xorrisofs", "-quiet", "-volid", LABEL, "-joliet", "-rational-rock", "-output", str(part)]
    try:
        run([*argv, *(str(directory / name) for name in names)], timeout=60)
        part.replace(image)
    finally:
        part.unlink(missing_ok=True)

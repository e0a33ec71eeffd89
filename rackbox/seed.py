"""A machine's seed as a disk: the files that cloud-init's NoCloud looks for, on a small ISO 9660 with the label cidata.

Entry point: ``write_seed``. The label is what cloud-init goes by, whatever kind of drive the image is in; Debian 12's
cloud kernel knows virtio's disks and no CD-ROM, so that is where it belongs. Rock Ridge and Joliet keep the names.
Beside cloud-init's is a directory for the box's own use (``rackbox.early``).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rackbox.early import DIRECTORY, early_files
from rackbox.run import run

FILES = ("user-data", "meta-data", "network-config")
LABEL = "cidata"


def write_seed(directory: Path, image: Path) -> None:
    """Make ``image`` of cloud-init's files in ``directory``; whoever has the old one open goes on reading that, and it
    appears whole. Readable by its owner alone, since user-data holds keys."""
    image.parent.mkdir(parents=True, exist_ok=True)
    part = image.with_name(f"{image.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    options = ["-quiet", "-volid", LABEL, "-joliet", "-rational-rock", "-graft-points"]
    try:
        with tempfile.TemporaryDirectory(prefix="early-", dir=directory) as early:
            texts = early_files((directory / "user-data").read_text(), (directory / "network-config").read_text())
            for name, text in texts.items():
                (Path(early) / name).write_text(text)
            grafts = [f"/{name}={directory / name}" for name in FILES]
            run(["xorrisofs", *options, "-output", str(part), *grafts, f"/{DIRECTORY}={early}"], timeout=60)
        part.replace(image)
    finally:
        part.unlink(missing_ok=True)

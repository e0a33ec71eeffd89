"""Makes a Debian 13 box of what the Debian Cloud Team's recipe of Vagrant boxes installs, and says both sizes.

    .venv/bin/python benchmarks/bench_stock_box.py

There is no such box to be had: the team published boxes up to Debian 12, and its last build of testing is of 2025-04-26
(https://salsa.debian.org/cloud-team/debian-vagrant-images: ``utils/vagrant/release`` knows no trixie). So this installs
what ``config_space`` there has for the class VAGRANT (whatever has the priority important or standard, and the packages
below; no recommended ones; not chrony, which conflicts with trixie's systemd-timesyncd), on one ext4, and packs it
as ``utils/vagrant/libvirt/create-vagrant-libvirt-box`` does: a qcow2 as it is, in a tar compressed with gzip.
No boot loader is put on the disk. Needs root, mmdebstrap and qemu-utils, 6 GiB in TMPDIR, and two minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from rackbox.box import current_box  # noqa: E402 - a script beside the package
from rackbox.tools import find_user_home  # noqa: E402 - likewise

PACKAGES = (
    *("linux-image-amd64", "apparmor", "grub-pc"),  # classes LINUX_IMAGE_BASE, GRUB_PC
    *("openssh-server", "cloud-initramfs-growroot", "sudo", "libpam-systemd", "unattended-upgrades"),
    *("apt-utils", "ifupdown", "init", "iptables", "iputils-ping", "isc-dhcp-client", "less", "logrotate", "nano"),
    *("netbase", "rsyslog", "vim-tiny", "whiptail"),
)
DISK_SIZE = "20G"


def make_box(work: Path) -> tuple[Path, int]:
    """The box, and how many packages are in it."""
    root, disk, image, box = (work / name for name in ("root", "disk.raw", "box.img", "stock.box"))
    command = ["mmdebstrap", "--quiet", "--variant=standard", f"--include={','.join(PACKAGES)}"]
    subprocess.run([*command, "--aptopt=Apt::Install-Recommends false", "trixie", str(root)], check=True)
    listed = subprocess.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), DISK_SIZE], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(disk), str(image)], check=True)
    with tarfile.open(box, "w:gz", compresslevel=6) as archive:
        archive.add(image, "box.img")
    return box, len(listed)


def main() -> None:
    argparse.ArgumentParser(description="Compare a box's size with a stock one's.").parse_args()
    ours = current_box(find_user_home().boxes, "debian-13", "libvirt")
    if ours is None:
        sys.exit("there is no box of debian-13 for libvirt: make one with `./lab image --provider libvirt`")
    with tempfile.TemporaryDirectory() as directory:
        stock, count = make_box(Path(directory))
        stock_size = stock.stat().st_size
    size = ours.path.stat().st_size
    own_count = len(json.loads(ours.manifest.read_text())["packages"])
    print(f"stock: {count} packages, {stock_size / 2**20:.0f} MiB")
    print(f"rackbox: {own_count} packages, {size / 2**20:.0f} MiB, {size / stock_size:.2f} of it")


if __name__ == "__main__":
    main()

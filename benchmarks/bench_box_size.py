"""Has mkosi, as it comes, make an image of the packages that the current box for libvirt has, and says both sizes.

    .venv/bin/python benchmarks/bench_box_size.py [--os debian-13]

mkosi and what it needs are taken from that release into a root of their own; nothing is installed on this computer. Its
image has one partition, no initramfs and no boot loader, which the box has; both are qcow2 with zstd. Needs root,
mmdebstrap and qemu-utils, 6 GiB in the temporary directory (TMPDIR), and some three minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from rackbox.box import Box, current_box  # noqa: E402 - a script beside the package
from rackbox.tools import find_user_home  # noqa: E402 - a script beside the package

SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
TOOLS = (
    *("mkosi", "systemd-repart", "systemd", "udev", "e2fsprogs", "mtools", "dosfstools", "zstd", "cpio", "kmod"),
    *("ca-certificates", "debian-archive-keyring", "apt", "python3"),
)
# mkosi makes sandboxes of its own, which a root that was only changed into (chroot) cannot have.
ENTER = """
mount --bind root root
mount --bind job root/job
mount --bind /etc/resolv.conf root/etc/resolv.conf
mount --rbind /dev root/dev
mount --rbind /sys root/sys
cd root
pivot_root . old
mount -t proc proc /proc
umount -l /old
cd /job
export TMPDIR=/var/tmp # inside of the root
exec mkosi build
"""


def make_root(work: Path, suite: str) -> None:
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(TOOLS)}", suite, str(work / "root")]
    subprocess.run(command, check=True)
    for name in ("job", "old"):
        (work / "root" / name).mkdir()


def write_job(work: Path, suite: str, packages: list[str]) -> None:
    """With the root's own package sources: mkosi's include one of debugging symbols, which not every mirror has."""
    job = work / "job"
    sources = job / "mkosi.sandbox/etc/apt/sources.list.d"
    sources.mkdir(parents=True)
    entries = []
    for line in (work / "root/etc/apt/sources.list").read_text().splitlines():
        kind, uri, release, *components = line.split()
        entries.append(f"Types: {kind}\nURIs: {uri}\nSuites: {release}\nComponents: {' '.join(components)}\n")
    keyring = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    (sources / "mkosi.sources").write_text("\n".join(entry + keyring for entry in entries))
    wanted = "\n  ".join(packages)
    (job / "mkosi.conf").write_text(
        f"[Distribution]\nDistribution=debian\nRelease={suite}\n\n[Output]\nFormat=disk\nOutput=plain\n"
        f"ManifestFormat=json\n\n"
        f"[Content]\nBootable=no\nPackages={wanted}\n"
    )


def build(work: Path) -> Path:
    """The image, compressed as the box's is."""
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    with (work / "mkosi.log").open("w") as log:
        done = subprocess.run([*apart, "sh", "-euc", ENTER], cwd=work, stdout=log, stderr=log, check=False)
    if done.returncode:
        sys.exit(f"mkosi failed:\n{(work / 'mkosi.log').read_text()[-2000:]}")
    image = work / "plain.qcow2"
    convert = ["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd"]
    subprocess.run([*convert, str(work / "job/plain.raw"), str(image)], check=True)
    return image


def compare(box: Box, suite: str, work: Path) -> None:
    manifest = json.loads(box.manifest.read_text())
    packages = sorted({package["name"] for package in manifest["packages"]})
    print(f"{box.version}: {len(packages)} packages", flush=True)
    make_root(work, suite)
    write_job(work, suite, packages)
    started = time.monotonic()
    image = build(work)
    ours, theirs = manifest["image_size"], image.stat().st_size
    listed = json.loads((work / "job/plain.manifest").read_text())["packages"]
    print(f"in mkosi's image: {len(listed)} packages")
    print(f"mkosi {time.monotonic() - started:.0f} s: {theirs / 2**20:.0f} MiB")
    print(f"rackbox: {ours / 2**20:.0f} MiB, {ours / theirs:.2f} of it")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--os", default="debian-13", choices=sorted(SUITES))
    options = parser.parse_args()
    box = current_box(find_user_home().boxes, options.os, "libvirt")
    if box is None:
        sys.exit(f"there is no box of {options.os} for libvirt: make one with `./lab image --provider libvirt`")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    work = Path(tempfile.mkdtemp(prefix="box-size-"))
    try:
        compare(box, SUITES[options.os], work)
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())

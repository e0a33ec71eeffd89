"""Boxes that are broken on purpose, and a package archive of our own: what the gate and change detection are held to.

A broken box is the current one with files laid over its tree: made in seconds, where a build takes a minute.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rackbox.box import Box, box_path, sha256_of
from rackbox.catalogue import MARK
from rackbox.packing import pack
from rackbox.paths import Home
from rackbox.run import run

UNIT = """\
[Unit]
Description=harm
After=rackbox-provision.service
[Service]
Type=oneshot
ExecStart={command}
[Install]
WantedBy=multi-user.target
"""
WANTED = "etc/systemd/system/multi-user.target.wants/harm.service"
IP_ADDRESS = "usr/lib/ocf/resource.d/heartbeat/IPaddr2"

ALWAYS_FAILS = {"etc/systemd/system/harm.service": UNIT.format(command="/bin/false")}
UNMOUNTS = {"etc/systemd/system/harm.service": UNIT.format(command="-/bin/umount --lazy /var/lib/etcd")}
SAME_ID = {"etc/machine-id": "0123456789abcdef0123456789abcdef\n"}
HOLDS_A_KEY = {"etc/app/key.pem": "-----BEGIN " + "PRIVATE KEY-----\n" + "MIGHAgEAMBMGByqG" * 4 + "\n"}

CANNOT_TAKE_OVER = """\
#!/bin/sh
# The address can be had where the lab starts, and nowhere else: lb2 starts, and says that it has not.
[ "$1" != start ] || [ "$(hostname)" = lb1 ] || exit 1
exec /usr/lib/ocf/resource.d/heartbeat/IPaddr2.real "$@"
"""


@dataclass(frozen=True, slots=True)
class Harm:
    """What is laid over a tree. ``links`` are symbolic; ``moved`` keeps a file under another name."""

    files: Mapping[str, str]
    links: Mapping[str, str] | None = None
    moved: Mapping[str, str] | None = None


def derive_box(source: Box, home: Home, version: str, harm: Harm, work: Path) -> Box:
    """The current box with something laid over its tree, on disk as a candidate."""
    out = work / f"out-{version}"
    out.mkdir()
    with tarfile.open(source.path) as archive:
        archive.extract("rootfs.tar.zst", out, filter="data")
    whole, plain = out / "rootfs.tar.zst", out / "rootfs.tar"
    run(["zstd", "--decompress", "--quiet", "--rm", str(whole)], timeout=300)
    _lay_over(plain, harm)
    run(["zstd", "-1", "--threads=0", "--quiet", "--rm", str(plain), "-o", str(whole)], timeout=300)
    path = box_path(home.boxes, source.os, source.provider, version)
    path.parent.mkdir(parents=True)
    pack(out, path, source.provider)
    box = Box(source.os, source.provider, version, path, sha256_of(path))
    manifest = json.loads(source.manifest.read_text())
    manifest |= {"version": version, "sha256": box.sha256, "rootfs_sha256": sha256_of(whole)}
    box.manifest.write_text(json.dumps(manifest))
    entry = {"name": box.provider, "url": path.as_uri(), "checksum_type": "sha256", "checksum": box.sha256}
    metadata = {"name": box.name, "versions": [{"version": version, "providers": [entry]}]}
    (path.parent / "metadata.json").write_text(json.dumps(metadata))
    (path.parent / MARK).write_text(json.dumps({"state": "candidate"}))
    shutil.rmtree(out)
    return box


def _lay_over(path: Path, harm: Harm) -> None:
    with tarfile.open(path, "a") as archive:
        for new, old in (harm.moved or {}).items():
            with tarfile.open(path) as before:
                member = before.getmember(f"./{old}")
                content = before.extractfile(member)
                assert content is not None
                member.name = f"./{new}"
                archive.addfile(member, content)
        for name, text in harm.files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.mode = 0o755 if text.startswith("#!") else 0o644
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for name, target in (harm.links or {}).items():
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)


HARMS: dict[str, tuple[Harm, str]] = {
    "unit": (Harm(ALWAYS_FAILS, {WANTED: "../harm.service"}), "failed units: harm.service"),
    "volume": (Harm(UNMOUNTS, {WANTED: "../harm.service"}), "/var/lib/etcd"),
    "machine-id": (Harm(SAME_ID), "machine-id"),
    "key": (Harm(HOLDS_A_KEY), "/etc/app/key.pem: holds a private key"),
    "balancer": (Harm({IP_ADDRESS: CANNOT_TAKE_OVER}, moved={f"{IP_ADDRESS}.real": IP_ADDRESS}), "over budget"),
}
"""By name: what is done to the box, and words that the gate's refusal must have."""


def make_archive(directory: Path, deb: Path, version: str) -> Path:
    """A flat archive that holds ``deb`` as a newer version; returns a sources.list(5) file that names it."""
    tree = directory / "tree"
    run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], timeout=60)
    control = tree / "DEBIAN" / "control"
    lines = [
        f"Version: {version}" if line.startswith("Version:") else line for line in control.read_text().splitlines()
    ]
    control.write_text("\n".join(lines) + "\n")
    name = f"{deb.name.split('_')[0]}_bumped.deb"
    run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(directory / name)], timeout=60)
    data = (directory / name).read_bytes()
    lines += [f"Filename: ./{name}", f"Size: {len(data)}", f"SHA256: {hashlib.sha256(data).hexdigest()}"]
    index = ("\n".join(lines) + "\n").encode()
    (directory / "Packages").write_bytes(index)
    sums = f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    release = f"Origin: Bumped\nSuite: bumped-security\nDate: Fri, 20 Nov 2020 00:00:00 UTC\n{sums}"
    (directory / "Release").write_text(release)
    sources = directory / "bumped.list"
    sources.write_text(f"deb [trusted=yes] copy:{directory} ./\n")
    return sources

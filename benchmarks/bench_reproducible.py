"""Builds a box's root file system twice from the same inputs and shows every difference between the two trees.

    RACKBOX_HOME=/var/tmp/twice .venv/bin/python benchmarks/bench_reproducible.py [--os debian-13] [A B]

With two archives (``rootfs.tar.zst``) only compares them. Compared are names, kinds, contents, modes, owners, times to
the second, links and extended attributes; then the archives' own digests. Exit 0: no difference.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from rich.console import Console  # noqa: E402 - a script beside the package

from rackbox.box import current_box, sha256_of  # noqa: E402 - a script beside the package
from rackbox.image import rebuild  # noqa: E402 - a script beside the package
from rackbox.tools import find_user_home  # noqa: E402 - a script beside the package

Entry = tuple[object, ...]


def read_tree(archive: Path) -> dict[str, Entry]:
    """Every member by its name: kind, mode, owner, time, link, attributes, and the SHA-256 of its content."""
    found: dict[str, Entry] = {}
    with subprocess.Popen(["zstd", "-dqc", str(archive)], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tree:
            for member in tree:
                stream = tree.extractfile(member) if member.isfile() else None
                content = hashlib.sha256(stream.read()).hexdigest() if stream else ""
                attributes = tuple(sorted((k, v) for k, v in member.pax_headers.items() if "xattr" in k))
                owner = (member.uid, member.gid)
                found[member.name] = (
                    *(member.type, oct(member.mode), owner, int(member.mtime), member.linkname, attributes),
                    content,
                )
        unpack.wait()
    return found


def compare(first: dict[str, Entry], second: dict[str, Entry]) -> list[str]:
    names = ("kind", "mode", "owner", "time", "link", "attributes", "content")
    lines = [f"only in the first: {name}" for name in sorted(first.keys() - second.keys())]
    lines += [f"only in the second: {name}" for name in sorted(second.keys() - first.keys())]
    for name in sorted(first.keys() & second.keys()):
        pairs = zip(names, first[name], second[name], strict=True)
        differing = [f"{what} {old} / {new}" for what, old, new in pairs if old != new]
        if differing:
            lines.append(f"{name}: {', '.join(differing)}")
    return lines


def build_twice(os_name: str) -> tuple[Path, Path]:
    """Two archives of two builds, one after the other."""
    home, console = find_user_home(), Console(stderr=True)
    archives = []
    for _ in range(2):
        started = time.monotonic()
        rebuild(home, os_name, "lxc", console, if_changed=False, gate=False)
        print(f"built in {time.monotonic() - started:.1f} s")
        box = current_box(home.boxes, os_name, "lxc")
        assert box is not None
        with tarfile.open(box.path) as whole:
            whole.extract("rootfs.tar.zst", box.path.parent / "unpacked", filter="data")
        archives.append(box.path.parent / "unpacked" / "rootfs.tar.zst")
    return archives[0], archives[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--os", default="debian-13")
    parser.add_argument("archives", nargs="*", type=Path)
    options = parser.parse_args()
    first, second = options.archives or build_twice(options.os)
    lines = compare(read_tree(first), read_tree(second))
    for line in lines:
        print(line)
    print(f"{len(lines)} differences")
    for archive in (first, second):
        print(f"{sha256_of(archive)}  {archive}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

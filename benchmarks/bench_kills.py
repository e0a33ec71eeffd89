"""Kills the builder of boxes at random moments and looks what is left each time.

    RACKBOX_HOME=/var/tmp/kills .venv/bin/python benchmarks/bench_kills.py [--kills 20] [--real 0] [--seed 1]

Every kill is a SIGKILL of the builder's whole process group, and nobody cleans up. After each, the catalogue must be
valid and name the same boxes or one more, each of them whole (SHA-256). After the last, one more run to its end must
leave nothing stray: no directory, mount, network namespace or process. By default Packer is a stand-in that writes a
tiny tree within a second, so that many kills fall between two steps; the last ``--real`` kills are of the real builder,
gate included. RACKBOX_HOME must be a directory of its own; with ``--real``, one in which a real box is current.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from rackbox.box import check_box, list_boxes  # noqa: E402 - a script beside the package
from rackbox.catalogue import list_versions  # noqa: E402 - a script beside the package
from rackbox.tools import find_user_home  # noqa: E402 - a script beside the package

OS = "debian-13"
STAND_IN = r"""#!/bin/bash
# Stands in for packer: the same results, of a tiny tree.
set -euo pipefail
[ "$1" != version ] || exec echo "Packer v1.6.6"
for word in "$@"; do case $word in -only=*) only=${word#*=} ;; -var=output=*) out=${word#-var=output=} ;; esac; done
echo "Origin: Debian
Date: Fri, 20 Nov 2026 00:12:42 UTC" >"$out/sources.txt"
printf 'jq\t%s\tamd64\tDebian:13/stable\tab\n' "$(date +%s%N)" >"$out/resolved.tsv"
if [ "$only" = null.rootfs ]; then
  sleep 0.3
  mkdir -p "$TMPDIR/tree/etc"
  head -c 3000000 /dev/urandom >"$TMPDIR/tree/data"
  : >"$TMPDIR/tree/etc/machine-id"
  tar -C "$TMPDIR/tree" -c . | zstd -q -o "$out/rootfs.tar.zst"
  printf 'jq\t1\tamd64\tjq\t1\n' >"$out/packages.tsv"
  echo stand-in >"$out/tools.txt"
fi
"""


def start(stand_in: Path | None, *words: str) -> subprocess.Popen[bytes]:
    path = f"{stand_in}:{os.environ['PATH']}" if stand_in else os.environ["PATH"]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "rackbox.program", "image", *words],
        cwd=PROJECT,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def good() -> list[str]:
    """The catalogue's versions, each of them looked at in full."""
    boxes = list_boxes(find_user_home().boxes, OS, "lxc")
    for box in boxes:
        check_box(box)
    return [box.version for box in boxes]


def kill_at(moment: float, stand_in: Path | None, *words: str) -> tuple[bool, str]:
    """Start a builder, kill it after so many seconds, and judge what the catalogue says then. False: it had ended."""
    before = good()
    builder = start(stand_in, *words)
    try:
        builder.wait(moment)
        killed, end = False, f"had ended ({builder.returncode})"
    except subprocess.TimeoutExpired:
        os.killpg(builder.pid, signal.SIGKILL)
        builder.wait()
        killed, end = True, "killed"
    time.sleep(0.2)
    after = good()
    assert after[: len(before)] == before, f"lost: {before} → {after}"
    assert len(after) <= len(before) + 1
    stages = {item.state for item in list_versions(find_user_home(), OS, "lxc")}
    return killed, f"{end} after {moment:.2f} s; {len(after)} good versions; states {', '.join(sorted(stages))}"


def kill(times: int, longest: float, chance: random.Random, stand_in: Path | None, *words: str) -> None:
    """That many kills. A run that ends before its moment does not count, and says how long runs take now."""
    number = 0
    while number < times:
        moment = chance.uniform(0.05, longest)
        killed, line = kill_at(moment, stand_in, *words)
        number += killed
        longest = longest if killed else moment
        print(number if killed else "-", "stand-in:" if stand_in else "real:", line, flush=True)


def stray() -> list[str]:
    """What is left that should not be."""
    home = find_user_home()
    left = [str(path) for path in home.boxes.glob(".build-*")]
    left += [f"{v.version} is a candidate" for v in list_versions(home, OS, "lxc") if v.state == "candidate"]
    left += [str(path) for path in (*home.labs.glob("gate-*"), *home.runs.glob("gate-*"))]
    left += [str(path) for path in Path("/run/netns").glob("rackbox-gate-*")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (process / "mountinfo").read_text(errors="replace")
        except OSError:
            continue
        if process.name != str(os.getpid()) and str(home.data) in words:
            left.append(f"process {process.name}: {words[:100]}")
        left += [line for line in mounts.splitlines() if f"{home.boxes}/.build" in line]
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--longest", type=float, default=0.0, help="seconds of a real run (default: 120)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if "RACKBOX_HOME" not in os.environ:
        parser.error("set RACKBOX_HOME to a directory of its own")
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as directory:
        stand_in = Path(directory)
        (stand_in / "packer").write_text(STAND_IN)
        (stand_in / "packer").chmod(0o755)
        if options.kills > options.real:
            started = time.monotonic()
            assert start(stand_in, "--no-gate").wait() == 0
            longest = time.monotonic() - started
            print(f"a run with the stand-in takes {longest:.2f} s")
            kill(options.kills - options.real, longest, chance, stand_in, "--no-gate")
            assert start(stand_in, "--no-gate").wait() == 0
    kill(options.real, options.longest or 120, chance, None)
    if options.real:
        code = start(None).wait()
        print(f"the next real run: exit {code}")
    left = stray()
    print(f"{len(good())} good versions, all whole; stray: {left or 'nothing'}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

"""Boots one emulated machine again and again from a box for libvirt, and says how long it took each time.

    .venv/bin/python benchmarks/bench_boot.py [--os debian-13] [--boots 4] [--cpus 2] [--box BOX.box ...]

Each boot is a new clone, alone, as the box's gate boots it. Several boxes take turns, so that a computer that is slower
for a while is so for all of them. Seconds from power-on; nothing is judged. Needs root, and what `./lab image` needs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from rackbox.bootproof import Hardware, boot_clones  # noqa: E402 - a script beside the package
from rackbox.box import current_box  # noqa: E402 - likewise
from rackbox.machinesmoke import read_analyze, read_figures  # noqa: E402 - likewise
from rackbox.packing import unpack_disk  # noqa: E402 - likewise
from rackbox.tools import find_user_home  # noqa: E402 - likewise

SHOWN = {"kernel_s": "kernel begins", "ssh_s": "SSH", "cloud_init_done_s": "cloud-init finished", "all_done_s": "all"}


def boot(disk: Path, work: Path, cpus: int) -> dict[str, float]:
    (clone,) = boot_clones(disk, work, ("boot",), Hardware(cpus=cpus)).values()
    figures = read_figures(clone.said, clone.asked_s, clone.banner_s)
    words = ", ".join(f"{text} {figures[key]:.1f}" for key, text in SHOWN.items())
    print(f"  {words} ({read_analyze(clone.said)})", flush=True)
    return figures


def sum_up(name: str, boots: Sequence[dict[str, float]]) -> str:
    def tell(key: str) -> str:
        times = [figures[key] for figures in boots]
        return f"{SHOWN[key]} {statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"

    return f"{name}: {', '.join(map(tell, SHOWN))} s; median (range) of {len(boots)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the boots of emulated machines.")
    parser.add_argument("--os", default="debian-13")
    parser.add_argument("--boots", type=int, default=4, help="for each box")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--box", type=Path, nargs="+", help="box files; without it the current one")
    options = parser.parse_args()
    boxes: list[Path] = options.box or []
    if not boxes:
        current = current_box(find_user_home().boxes, options.os, "libvirt")
        if current is None:
            parser.error(f"no box of {options.os} for libvirt: ./lab image --os {options.os} --provider libvirt")
        boxes = [current.path]
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        disks = {}
        for number, box in enumerate(boxes):
            (work / f"{number}").mkdir()
            disks[box] = unpack_disk(box, work / f"{number}")
        boots: dict[Path, list[dict[str, float]]] = {box: [] for box in boxes}
        for _ in range(options.boots):
            for box, disk in disks.items():
                print(box.name, flush=True)
                boots[box].append(boot(disk, work, options.cpus))
    for box, figures in boots.items():
        print(sum_up(box.name, figures))


if __name__ == "__main__":
    main()

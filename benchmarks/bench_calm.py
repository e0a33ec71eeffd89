"""Counts false failovers: a lab in which nothing breaks, on a computer that is too busy, or with packets lost.

    .venv/bin/python benchmarks/bench_calm.py --lab config/comparison/pacemaker.yaml --load 3 --minutes 15
    .venv/bin/python benchmarks/bench_calm.py --lab config/comparison/keepalived.yaml --loss --minutes 15

``--load N`` runs N busy loops for every processor of the computer; ``--loss`` loses 5 % of the packets between the
balancers, each way. The balancers say themselves, as it happens, whether they hold the floating IP; every change after
the start is a false move. The lab must be up and healthy; it is left as it was. Prints one line; judges nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from rackbox.faults import FAULTS, Site  # noqa: E402 - a script beside the package
from rackbox.lab import LiveLab, lab_lock, open_lab  # noqa: E402 - likewise
from rackbox.recorder import load_history  # noqa: E402 - likewise
from rackbox.watchers import start_watchers  # noqa: E402 - likewise


def count_moves(lab: LiveLab, directory: Path, seconds: float) -> tuple[int, int]:
    """Watch for ``seconds``: how often the address moved, and how often a balancer fell silent."""
    history = directory / "history.jsonl"
    history.touch()
    watchers = start_watchers(lab, history, directory)
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.5)
            if end := watchers.ended():
                raise SystemExit(end)
    finally:
        watchers.ask_to_end()
        watchers.wait_for_end()
    found = load_history(history)
    known: dict[str, bool] = {}
    moves = 0
    for record in found.events("address"):
        held = record.flag("held")
        moves += held and known.get(record.source) is False
        known[record.source] = held
    return moves, len(found.events("watch-lost"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Count false failovers.")
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--load", type=int, default=0, help="busy loops for every processor")
    parser.add_argument("--loss", action="store_true", help="lose 5 %% of the packets between the balancers")
    options = parser.parse_args()
    lab = open_lab(options.lab)
    lab.require_up()
    lab.wait_healthy(30)
    fault = FAULTS["packet-loss"]
    site = Site(lab, tuple(node.name for node in lab.topology.by_role("lb")))
    busy: list[subprocess.Popen[bytes]] = []
    with lab_lock(lab.paths), tempfile.TemporaryDirectory() as directory:
        try:
            if options.loss:
                fault.setup(site)
                fault.inject(site)
            for _ in range(options.load * (os.cpu_count() or 1)):
                busy.append(subprocess.Popen(["sh", "-c", "while :; do :; done"], stdin=subprocess.DEVNULL))
            begun = time.monotonic()
            moves, silent = count_moves(lab, Path(directory), options.minutes * 60)
            minutes = (time.monotonic() - begun) / 60
        finally:
            for process in busy:
                process.kill()
                process.wait()
            if options.loss:
                fault.heal(site)
                fault.teardown(site)
    lab.wait_healthy(60)
    words = f"load {options.load} x {os.cpu_count()} processors" if options.load else "no load"
    loss = "5 % loss" if options.loss else "no loss"
    print(f"{lab.topology.lab}: {moves} false moves in {minutes:.1f} min ({words}, {loss}; silences: {silent})")


if __name__ == "__main__":
    main()

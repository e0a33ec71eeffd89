"""Measures a lab's life on this machine: cold `up`, `up` on a healthy lab, `status`, `down`, peak memory.

    .venv/bin/python benchmarks/bench_lab.py [--lab config/default.yaml] [--runs 5] [--out results.jsonl]

The box must be there. Each run's figures are appended to ``--out`` as one JSON line, and a run that is already in it is
not made again, so that a long measurement can be broken off and resumed. Prints median, minimum and maximum; judges
nothing. The lab is down afterwards.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
RUN_LIMIT = 300.0
QUICK_TRIES = 5


class MemoryWatch:
    """The most memory (MiB) that the computer used above what it used at the start: MemTotal − MemAvailable."""

    def __init__(self) -> None:
        self._before = self._used()
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self.peak = max(self.peak, self._used() - self._before)

    @staticmethod
    def _used() -> int:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return (int(lines["MemTotal"].split()[0]) - int(lines["MemAvailable"].split()[0])) // 1024


def time_task(*argv: str) -> float:
    """Seconds that a task took; it must succeed."""
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "rackbox.program", *argv],
        cwd=PROJECT,
        check=True,
        timeout=RUN_LIMIT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - started


def measure_run(lab: str) -> dict[str, float]:
    chosen = ("--lab", lab)
    time_task("down", *chosen)
    with MemoryWatch() as memory:
        up = time_task("up", *chosen)
        again = statistics.median(time_task("up", *chosen) for _ in range(3))
        status = statistics.median(time_task("status", *chosen) for _ in range(QUICK_TRIES))
    down = time_task("down", *chosen)
    return {"up_s": up, "up_again_s": again, "status_s": status, "down_s": down, "peak_memory_mib": memory.peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--lab", default="config/default.yaml")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks" / "out" / "lab.jsonl")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.touch()
    rows = [row for line in options.out.read_text().splitlines() if (row := json.loads(line))["lab"] == options.lab]
    for number in range(len(rows), options.runs):
        row = {"lab": options.lab, "run": number + 1, "kernel": platform.release(), **measure_run(options.lab)}
        rows.append(row)
        with options.out.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(f"run {number + 1}: " + ", ".join(f"{key} {row[key]:.2f}" for key in row if key.endswith(("_s", "_mib"))))
    print(f"{'':<18}{'median':>9}{'min':>9}{'max':>9}   ({len(rows)} runs of {options.lab})")
    for key in ("up_s", "up_again_s", "status_s", "down_s", "peak_memory_mib"):
        values = [row[key] for row in rows]
        print(f"{key:<18}{statistics.median(values):>9.2f}{min(values):>9.2f}{max(values):>9.2f}")


if __name__ == "__main__":
    main()

"""Calibrates the failover test: known drops against what it reports.

    .venv/bin/python benchmarks/bench_calibration.py [--drops 50,200,1000,5000] [--trials 25] [--out trials.jsonl]

A real TLS server stands behind a door on loopback that is shut for a known time, in two ways (``swallow``: no answer;
``refuse``: reset), while a probe asks as it does in a failover test. A reported outage is right if it differs from
the known time by no more than its own stated ±. Both ways are measured at the same time, each with a probe, a door
and a server of its own. Each trial is appended to ``--out`` as one JSON line, and a trial that is already in it is
not made again. A trial in which the probe itself was starved says so and is made again; one with a second, short
outage is counted as "extra". Exit 1 if any was wrong.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from tests.calibration.rig import KINDS, SHORTEST, Rig, Trial  # noqa: E402 - found only once the path is set


def load_trials(out: Path) -> list[Trial]:
    if not out.exists():
        return []
    return [Trial(**json.loads(line)) for line in out.read_text().splitlines()]


def measure(kind: str, drops: list[int], trials: int, out: Path, lock: threading.Lock) -> None:
    """All that is missing of one kind, the drops in turn so that a change of load meets all of them."""
    with tempfile.TemporaryDirectory() as directory, Rig(Path(directory)) as rig:
        while missing := [
            drop
            for drop in drops
            if drop / 1000 >= SHORTEST.get(kind, 0.0)
            and sum(t.kind == kind and t.drop == drop and not t.starved for t in load_trials(out)) < trials
        ]:
            for drop in missing:
                trial = rig.try_drop(kind, drop / 1000)
                with lock, out.open("a") as stream:
                    stream.write(json.dumps(asdict(trial)) + "\n")


def show(trials: list[Trial], drops: list[int]) -> None:
    titles = ("kind", "drop", "n", "right", "median", "min", "max", "±", "starved", "extra")
    print("error (reported - true) and ± in milliseconds")
    print("".join(f"{title:>9}" for title in titles))
    for kind in KINDS:
        for drop in drops:
            mine = [trial for trial in trials if trial.kind == kind and trial.drop == drop]
            good = [trial for trial in mine if not trial.starved]
            if not good:
                continue
            errors = [trial.error for trial in good]
            extra = sum(trial.windows > 1 for trial in good)
            counts = f"{kind:>9}{drop:9}{len(good):9}{sum(trial.right for trial in good):9}"
            spread = f"{statistics.median(errors):9.1f}{min(errors):9.1f}{max(errors):9.1f}"
            print(f"{counts}{spread}{max(trial.resolution for trial in good):9.1f}{len(mine) - len(good):9}{extra:9}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--drops", default="50,200,1000,5000", help="milliseconds, with commas between")
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks" / "out" / "calibration.jsonl")
    arguments = parser.parse_args()
    drops = [int(word) for word in arguments.drops.split(",")]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()
    threads = [
        threading.Thread(target=measure, args=(kind, drops, arguments.trials, arguments.out, lock)) for kind in KINDS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = load_trials(arguments.out)
    show(trials, drops)
    wrong = [trial for trial in trials if not trial.starved and not trial.right]
    for trial in wrong:
        print(f"wrong: {trial}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

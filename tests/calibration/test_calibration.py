"""The instrument against drops of known length; benchmarks/bench_calibration.py does the same with more and longer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.calibration.rig import KINDS, SHORTEST, Rig, Trial

TRIES = 3


@pytest.mark.loopback
@pytest.mark.subprocess
def test_known_drops_are_reported_within_the_stated_resolution(tmp_path: Path) -> None:
    found: list[Trial] = []

    def measure(kind: str) -> None:
        directory = tmp_path / kind
        directory.mkdir()
        with Rig(directory) as rig:
            for seconds in (s for s in (0.05, 0.2) if s >= SHORTEST.get(kind, 0.0)):
                trials = [rig.try_drop(kind, seconds) for _ in range(TRIES)]
                again = sum(bool(trial.starved) for trial in trials)
                found.extend(trials + [rig.try_drop(kind, seconds) for _ in range(again)])

    threads = [threading.Thread(target=measure, args=(kind,)) for kind in KINDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for kind in KINDS:
        for drop in (d for d in (50, 200) if d / 1000 >= SHORTEST.get(kind, 0.0)):
            counted = [t for t in found if (t.kind, t.drop) == (kind, drop) and not t.starved]
            if len(counted) < TRIES:
                pytest.skip("the probe was starved: this computer is too busy to calibrate anything")
            assert [trial for trial in counted if not trial.right] == []

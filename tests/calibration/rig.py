"""One probe in front of one door (``dropper``): shuts it for a known time and says what the instrument made of it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rackbox.history import ATTEMPT, Attempt, as_attempt
from rackbox.outage import BASELINE_SECONDS, STALL_INTERVALS, find_starvation, measure_outage
from rackbox.paths import PROJECT
from rackbox.probes import ProbeSettings
from rackbox.probes.endpoints import EtcdEndpoint
from rackbox.probes.process import ModuleProcess
from rackbox.recorder import HistoryTail
from tests.tls_double import NAME

INTERVAL = 0.02
TIMEOUT = 0.9
KINDS = ("swallow", "refuse", "hold")
SHORTEST = {"hold": 2 * STALL_INTERVALS * INTERVAL}
"""Seconds: a shorter drop of that kind may be no outage at all, since nothing fails and nobody waits for long."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One drop. Milliseconds. ``starved`` says why the probe cannot be believed, so that the trial counts for nothing;
    ``windows`` is how many outages were seen: more than one, and the computer had no time for its server besides."""

    kind: str
    drop: float
    true: float
    reported: float
    resolution: float
    windows: int
    recovered: bool
    starved: str

    @property
    def error(self) -> float:
        return self.reported - self.true

    @property
    def right(self) -> bool:
        return self.recovered and self.windows > 0 and abs(self.error) <= self.resolution


class Rig:
    """Use as a context manager: a server, its door and an ``etcd-read`` probe, each a process of its own."""

    def __init__(self, directory: Path, interval: float = INTERVAL) -> None:
        self._directory = directory
        self._interval = interval
        self._history = directory / "history.jsonl"
        self._tail = HistoryTail(self._history)
        self._attempts: list[Attempt] = []
        self._random = random.Random(4)

    def __enter__(self) -> Rig:
        self._door = subprocess.Popen(
            [sys.executable, "-m", "tests.calibration.dropper", str(self._directory)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        port = int(self._read())
        here = self._directory
        files = (str(here / name) for name in ("ca.pem", "client.pem", "client.key"))
        settings = ProbeSettings(
            probe="etcd-read",
            history=self._history,
            run_id="calibration",
            endpoint=EtcdEndpoint("127.0.0.1", port, NAME, *files),
            interval=self._interval,
            timeout=TIMEOUT,
            max_seconds=900.0,
        )
        argv = [sys.executable, "-m", "rackbox.probes.runner", *settings.argv()]
        self._probe = ModuleProcess("probe", argv, self._directory / "log", 10.0)
        self._wait_for_good(time.monotonic())
        return self

    def __exit__(self, *_: object) -> None:
        self._probe.wait_for_end()
        assert self._door.stdin is not None
        assert self._door.stdout is not None
        self._door.stdin.close()
        try:
            self._door.wait(5)
        except subprocess.TimeoutExpired:
            self._door.kill()
            self._door.wait()
        self._door.stdout.close()

    def try_drop(self, kind: str, seconds: float) -> Trial:
        """Calm first, then a drop at any phase of the probe's schedule, then what was seen of it."""
        time.sleep(BASELINE_SECONDS + 0.1 + self._random.random() * 5 * self._interval)
        assert self._door.stdin is not None
        self._door.stdin.write(f"{kind} {seconds}\n")
        self._door.stdin.flush()
        begin, end = (float(word) for word in self._read().split())
        self._wait_for_good(end + TIMEOUT)
        self._attempts = [attempt for attempt in self._attempts if attempt.start >= begin - BASELINE_SECONDS - 0.1]
        attempts = sorted(self._attempts, key=lambda attempt: attempt.start)
        outage = measure_outage(attempts, begin, self._interval)
        return Trial(
            kind=kind,
            drop=seconds * 1000,
            true=(end - begin) * 1000,
            reported=outage.seconds * 1000,
            resolution=outage.resolution * 1000,
            windows=len(outage.windows),
            recovered=outage.recovered,
            starved=find_starvation(attempts, begin - BASELINE_SECONDS, end + 0.2, self._interval),
        )

    def _wait_for_good(self, when: float) -> None:
        """Until a good attempt has begun after ``when``: those before have all ended by then, too."""
        deadline = time.monotonic() + 30
        while not any(attempt.good and attempt.start > when for attempt in self._attempts):
            assert time.monotonic() < deadline, f"not good again: {self._attempts[-3:]}; {self._probe.ended()}"
            time.sleep(0.02)
            self._attempts += [as_attempt(record) for record in self._tail.read_new() if record.event == ATTEMPT]

    def _read(self) -> str:
        assert self._door.stdout is not None
        return self._door.stdout.readline()

"""A probe's process, as tests run one: around a block, with what it wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from rackbox.history import History, Record
from rackbox.probes.base import ProbeSettings
from rackbox.probes.process import ProbeProcess
from rackbox.recorder import load_history
from tests.fakes import FakeLab


class RunningProbe:
    """``history`` is what it wrote so far; a subclass says how long the block waits to begin (``begin``)."""

    def __init__(self, settings: ProbeSettings, directory: Path) -> None:
        self.settings = settings
        self._directory = directory

    def __enter__(self) -> Self:
        self.process = ProbeProcess(FakeLab(self._directory), self.settings, self._directory / "log")
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.wait_for_end()

    def begin(self) -> None:
        self.more()

    @property
    def history(self) -> History:
        path = self.settings.history
        return load_history(path) if path.exists() else History(())

    def only(self, event: str) -> Record:
        (record,) = self.history.events(event)
        return record

    @property
    def audit(self) -> Record:
        return self.only("probe-audit")

    def goods(self) -> int:
        return sum(attempt.good for attempt in self.history.attempts(self.settings.probe))

    def more(self, count: int = 8) -> None:
        """Wait for that many good attempts more."""
        before = self.goods()
        wait_until(lambda: self.goods() >= before + count or bool(self.process.ended()))


def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)

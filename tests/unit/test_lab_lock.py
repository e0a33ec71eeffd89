"""One acting command at a time for each lab."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from rackbox.errors import EXIT_COULD_NOT_RUN, LabBusy
from rackbox.lab import lab_lock, lock_file
from rackbox.paths import LabPaths


@pytest.fixture
def paths(tmp_path: Path) -> LabPaths:
    return LabPaths(tmp_path / "lab", tmp_path / "run" / "mine", tmp_path / "runs")


def test_a_second_command_is_told_at_once(paths: LabPaths) -> None:
    told = pytest.raises(LabBusy, match="lab mine: another command is acting on it")
    with lab_lock(paths), told as error, lab_lock(paths):
        pytest.fail("two at the same time")
    assert error.value.exit_code == EXIT_COULD_NOT_RUN
    with lab_lock(paths):  # and afterwards it is free again
        pass


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(
    paths: LabPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = fcntl.flock, []

    def down_was_faster(descriptor: Any, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            lock_file(paths).unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", down_was_faster)
    with lab_lock(paths):
        assert len(calls) == 2
        assert os.path.exists(lock_file(paths))
        with pytest.raises(LabBusy), lab_lock(paths):
            pytest.fail("two at the same time")

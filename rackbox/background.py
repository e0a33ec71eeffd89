"""Processes of a lab's own that outlive the command which starts them: ``start_background``, ``end_background``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rackbox.errors import LabError
from rackbox.paths import PROJECT
from rackbox.wait import NotYet, wait_for

_END_SECONDS = 3.0


def start_background(
    what: str, module: str, arguments: Sequence[str], *, log: Path, report: Path, timeout: float
) -> int:
    """Start ``python -m module`` in a session of its own and wait until it has written ``report``; its pid. ``what`` is
    what a person calls it, ``log`` takes all that it says. Raises ``LabError`` if it does not come."""
    report.unlink(missing_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603 - an argv list without a shell; not `run`, for it outlives us
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            start_new_session=True,
        )
    hint = f"see {log}"

    def probe() -> None:
        if report.exists():
            return
        if process.poll() is not None:
            raise LabError(f"{what}: ended at once (exit {process.returncode})", hint)
        raise NotYet(f"no report from pid {process.pid}")

    wait_for(what, probe, timeout=timeout, hint=hint)
    return process.pid


def end_background(find: Callable[[], int]) -> None:
    """End the process whose pid ``find`` says (0: there is none), and wait until it is gone. Idempotent."""
    pid = find()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not pid:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + _END_SECONDS
        while (pid := find()) and time.monotonic() < deadline:
            time.sleep(0.02)

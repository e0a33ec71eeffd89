"""Starts and ends a lab's power switch; the process itself is ``rackbox.fence``.

It runs while the lab is up, so that the balancers' cluster can fence: entry points ``start_fencing``,
``stop_fencing``. `down` ends it before anything else, or the survivors would have machines booted that are going down.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rackbox.errors import LabError
from rackbox.lab import LiveLab
from rackbox.paths import PROJECT, LabPaths
from rackbox.topology import Topology
from rackbox.wait import NotYet, wait_for

_END_SECONDS = 3.0


def needs_fencing(topology: Topology) -> bool:
    balancer = topology.load_balancer
    return balancer is not None and balancer.ha == "pacemaker" and balancer.fencing


def start_fencing(lab: LiveLab) -> None:
    """Start the power switch of a lab whose cluster fences, unless it runs. Raises ``LabError`` if it does not come."""
    if not needs_fencing(lab.topology):
        stop_fencing(lab.paths)
        return
    if find_fencing(lab.paths):
        return
    report = _report(lab.paths)
    report.unlink(missing_ok=True)
    lab.paths.logs.mkdir(parents=True, exist_ok=True)
    log = lab.paths.logs / "fence.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603 - an argv list; it outlives us
            [sys.executable, "-m", "rackbox.fence", str(lab.file.resolve()), str(report)],
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
            raise LabError(f"the lab's power switch ended at once (exit {process.returncode})", hint)
        raise NotYet(f"no report from pid {process.pid}")

    wait_for("the lab's power switch", probe, timeout=15, hint=hint)


def stop_fencing(paths: LabPaths) -> None:
    """End it, by its pid, and wait until it is gone. Idempotent."""
    pid = find_fencing(paths)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not pid:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + _END_SECONDS
        while (pid := find_fencing(paths)) and time.monotonic() < deadline:
            time.sleep(0.02)
    _report(paths).unlink(missing_ok=True)


def find_fencing(paths: LabPaths, proc: Path = Path("/proc")) -> int:
    """The pid of the lab's power switch, 0 where there is none: pids are given again, so its words are looked at."""
    try:
        pid = int(json.loads(_report(paths).read_text())["pid"])
        words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return pid if b"rackbox.fence" in words and str(_report(paths)).encode() in words else 0


def _report(paths: LabPaths) -> Path:
    return paths.runtime / "fence.json"

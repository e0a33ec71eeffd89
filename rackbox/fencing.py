"""Starts and ends a lab's power switch; the process itself is ``rackbox.fence``.

It runs while the lab is up, so that the balancers' cluster can fence: entry points ``start_fencing``,
``stop_fencing``. `down` ends it before anything else, or the survivors would have machines booted that are going down.
"""

from __future__ import annotations

import json
from pathlib import Path

from rackbox.background import end_background, start_background
from rackbox.lab import LiveLab
from rackbox.paths import LabPaths
from rackbox.topology import Topology


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
    arguments = [str(lab.file.resolve()), str(report)]
    log = lab.paths.logs / "fence.log"
    start_background("the lab's power switch", "rackbox.fence", arguments, log=log, report=report, timeout=15)


def stop_fencing(paths: LabPaths) -> None:
    """End it, by its pid, and wait until it is gone. Idempotent."""
    end_background(lambda: find_fencing(paths))
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

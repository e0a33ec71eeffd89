"""The watchers' process, seen from the test: one for all balancers, ended by its own id, never left behind."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Protocol

from rackbox.errors import LabError
from rackbox.machine import Lab
from rackbox.probes.process import ModuleProcess
from rackbox.watchers.addresses import GUEST_SCRIPT

MAX_SECONDS = 1800.0
_PATIENCE = 5.0


class Watchers(Protocol):
    """What a scenario needs of watchers that are under way."""

    def ended(self) -> str:
        """Empty while they run; afterwards how they ended and their last words."""
        ...

    def ask_to_end(self) -> None:
        """Ask them to finish; returns at once."""
        ...

    def wait_for_end(self) -> None:
        """Wait until they are gone; bounded, and killed in the end."""
        ...


def start_watchers(lab: Lab, history: Path, run_dir: Path) -> Watchers:
    """Watch, on every balancer, whether it holds the floating IP. Events go to ``history``, errors to a log in
    ``run_dir``. Raises ``LabError`` when the lab has no balancers."""
    balancer = lab.topology.load_balancer
    if balancer is None:
        raise LabError("address watchers need a floating IP; the lab has no load balancers")
    guest = shlex.join(["bash", "-c", GUEST_SCRIPT, "watch-address", str(balancer.floating_ip.address.ip)])
    machines = {node.name: [*lab.machine(node.name).stream_argv(), guest] for node in lab.topology.by_role("lb")}
    argv = [sys.executable, "-m", "rackbox.watchers.runner", str(history), f"{MAX_SECONDS:g}", json.dumps(machines)]
    return ModuleProcess("address watchers", argv, run_dir / "watchers.log", _PATIENCE)

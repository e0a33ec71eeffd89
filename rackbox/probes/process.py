"""A probe's process, seen from the test: started at the client's place, ended by its own id, never left behind."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rackbox.errors import LabError
from rackbox.machine import Lab
from rackbox.paths import PROJECT
from rackbox.probes import PROBES, ProbeSettings
from rackbox.probes.endpoints import find_obstacle, plan_endpoint

_GRACE_SECONDS = 8.0


class RunningProbe(Protocol):
    """What a scenario needs of a probe that is under way."""

    def ended(self) -> str:
        """Empty while it runs; afterwards how it ended and its last words."""
        ...

    def ask_to_end(self) -> None:
        """Ask it to finish; returns at once."""
        ...

    def wait_for_end(self) -> None:
        """Wait until it is gone; bounded, and killed in the end."""
        ...


def plan_settings(lab: Lab, probe: str, history: Path, run_id: str, pace: int, max_seconds: float) -> ProbeSettings:
    """What a probe of this lab must be told. Raises ``LabError`` when the lab cannot have that probe, and says why."""
    topology, kind = lab.topology, PROBES[probe]
    if obstacle := find_obstacle(topology, kind.aims_at.kind):
        raise LabError(f"probe {probe}: {obstacle}", "choose another lab with --lab, or another scenario")
    limit = topology.failover.probe_timeout_ms / 1000
    endpoint = plan_endpoint(
        topology,
        kind.aims_at.kind,
        lab.paths.secrets,
        lambda name: tuple(lab.machine(name).stream_argv()),
    )
    return ProbeSettings(
        probe=probe,
        history=history,
        # A run that is made again under its old name must not meet what the broken-off one has left.
        run_id=f"{run_id}-{secrets.token_hex(3)}",
        endpoint=endpoint,
        interval=topology.failover.probe_interval_ms / 1000 * pace,
        timeout=limit if kind.timeout is None else min(limit, kind.timeout),
        max_seconds=max_seconds,
    )


class ModuleProcess:
    """``python -m MODULE …`` under way beside the test. It ends when its standard input does, so it cannot outlive us;
    ``log`` gets what it prints. ``patience``: seconds that it may take to end."""

    def __init__(self, what: str, argv: Sequence[str], log: Path, patience: float) -> None:
        self._what = what
        self._log = log
        self._patience = patience
        with log.open("ab") as stream:
            self._process = subprocess.Popen(  # noqa: S603 - it must run beside us; `run` waits for an end
                list(argv),
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                cwd=PROJECT,
                env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,  # Ctrl-C is for the test: it ends its probes itself, after healing
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> str:
        code = self._process.poll()
        if code is None:
            return ""
        tail = self._log.read_text(errors="replace").strip().splitlines()[-5:]
        return "\n  | ".join([f"{self._what} ended with {code}; log: {self._log}", *tail])

    def ask_to_end(self) -> None:
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def wait_for_end(self) -> None:
        self.ask_to_end()
        for end, seconds in ((self._process.terminate, self._patience), (self._process.kill, 2.0)):
            try:
                self._process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                end()
        self._process.wait(5.0)


class ProbeProcess(ModuleProcess):
    """``python -m rackbox.probes.runner`` under way."""

    def __init__(self, lab: Lab, settings: ProbeSettings, log: Path) -> None:
        argv = [sys.executable, "-m", "rackbox.probes.runner", *settings.argv()]
        if PROBES[settings.probe].at_client:
            argv = lab.client_argv(argv)
        patience = settings.timeout + settings.audit_seconds + _GRACE_SECONDS
        super().__init__(f"probe {settings.probe}", argv, log, patience)


def start_probe(lab: Lab, settings: ProbeSettings, log: Path) -> RunningProbe:
    """Start one probe at the client's place."""
    return ProbeProcess(lab, settings, log)

"""A probe's process, seen from the test: started at the client's place, ended by its own id, never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from rackbox.errors import LabError
from rackbox.machine import Lab
from rackbox.paths import PROJECT
from rackbox.probes.base import ProbeSettings

SERVICE = "etcd"
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
    """What a probe of this lab must be told. Raises ``LabError`` when the lab has nothing to probe."""
    topology, secrets = lab.topology, lab.paths.secrets
    service = next((service for service in topology.services if service.name == SERVICE), None)
    if topology.load_balancer is None or service is None:
        raise LabError(
            f"the lab has no service `{SERVICE}` on a floating IP to probe",
            "add load balancers and the etcd service to the lab's config",
        )
    return ProbeSettings(
        probe=probe,
        history=history,
        run_id=run_id,
        address=str(topology.load_balancer.floating_ip.address.ip),
        port=service.port,
        server_name=f"{service.name}.{topology.domain}",
        ca=secrets / "ca.pem",
        certificate=secrets / "client.pem",
        key=secrets / "client.key",
        interval=topology.failover.probe_interval_ms / 1000 * pace,
        timeout=topology.failover.probe_timeout_ms / 1000,
        max_seconds=max_seconds,
    )


class ProbeProcess:
    """``python -m rackbox.probes.runner`` under way. ``log`` gets its standard error."""

    def __init__(self, lab: Lab, settings: ProbeSettings, log: Path) -> None:
        self._name = settings.probe
        self._log = log
        self._end_seconds = settings.timeout + settings.audit_seconds + _GRACE_SECONDS
        argv = lab.client_argv([sys.executable, "-m", "rackbox.probes.runner", *settings.argv()])
        with log.open("ab") as stream:
            self._process = subprocess.Popen(  # noqa: S603 - it must run beside us; `run` waits for an end
                argv,
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
        return "\n  | ".join([f"probe {self._name} ended with {code}; log: {self._log}", *tail])

    def ask_to_end(self) -> None:
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def wait_for_end(self) -> None:
        self.ask_to_end()
        for end, seconds in ((self._process.terminate, self._end_seconds), (self._process.kill, 2.0)):
            try:
                self._process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                end()
        self._process.wait(5.0)


def start_probe(lab: Lab, settings: ProbeSettings, log: Path) -> RunningProbe:
    """Start one probe at the client's place."""
    return ProbeProcess(lab, settings, log)

"""Starts and finds the forwarders from the host's 127.0.0.1 into the lab; the process itself is ``rackbox.forward``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rackbox.forward import Forward
from rackbox.lab import LiveLab
from rackbox.paths import PROJECT
from rackbox.wait import NotYet, wait_for


def report_path(lab: LiveLab) -> Path:
    return lab.paths.runtime / "forwards.json"


def read_forwards(lab: LiveLab) -> dict[str, int]:
    """Service name → port on 127.0.0.1, as really opened; empty where there is none."""
    try:
        ports: dict[str, int] = json.loads(report_path(lab).read_text())
    except FileNotFoundError:
        return {}
    return ports


def start_forwarders(lab: LiveLab, pid: int) -> int:
    """Start the lab's forwarder process unless ``pid`` is one that runs; return its pid (0 = nothing to forward)."""
    balancer = lab.topology.load_balancer
    services = [service for service in lab.topology.services if service.host_port]
    namespace = lab.provider.client_namespace(lab.topology)
    if balancer is None or not services or namespace is None:
        return 0
    if _is_forwarder(pid):
        return pid
    target = str(balancer.floating_ip.address.ip)
    forwards = [Forward(service.name, service.host_port, target, service.port) for service in services]
    forwards.append(Forward("stats", balancer.stats_port + 10000, target, balancer.stats_port))
    report = report_path(lab)
    report.unlink(missing_ok=True)
    lab.paths.logs.mkdir(parents=True, exist_ok=True)
    with (lab.paths.logs / "forward.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            [
                sys.executable,
                "-m",
                "rackbox.forward",
                str(namespace),
                str(report),
                *(forward.argument for forward in forwards),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            start_new_session=True,
        )

    def probe() -> None:
        if not report.exists():
            raise NotYet(f"no report from pid {process.pid} (exit {process.poll()})")

    wait_for("forwarders", probe, timeout=10, hint=f"see {lab.paths.logs / 'forward.log'}")
    return process.pid


def _is_forwarder(pid: int) -> bool:
    try:
        return b"rackbox.forward" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False

"""Starts and finds the forwarders from the host's 127.0.0.1 into the lab; the process itself is ``rackbox.forward``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rackbox.config_kubernetes import API_SERVICE
from rackbox.errors import LabError
from rackbox.forward import Forward
from rackbox.lab import LiveLab
from rackbox.paths import PROJECT
from rackbox.topology import Topology
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


def plan_forwards(topology: Topology) -> list[Forward]:
    """The forwarders of a lab: each service with a port on the host, and the load balancers' statistics page."""
    balancer = topology.load_balancer
    if balancer is None:
        return _plan_master_forward(topology)
    target = str(balancer.floating_ip.address.ip)
    services = [service for service in topology.services if service.host_port]
    forwards = [Forward(service.name, service.host_port, target, service.port) for service in services]
    stats = balancer.stats_port + 10_000
    return [*forwards, Forward("stats", stats if stats <= 65535 else 0, target, balancer.stats_port)]


def _plan_master_forward(topology: Topology) -> list[Forward]:
    """Without balancers a cluster has one master, which is its API."""
    kubernetes = topology.kubernetes
    if kubernetes is None:
        return []
    master = topology.by_role("master")[0]
    return [Forward(API_SERVICE, kubernetes.port + 10_000, str(master.address), kubernetes.port)]


def start_forwarders(lab: LiveLab, pid: int) -> int:
    """Start the lab's forwarder process unless ``pid`` is one that runs; return its pid (0 = nothing to forward)."""
    namespace = lab.provider.client_namespace(lab.topology)
    forwards = plan_forwards(lab.topology)
    if namespace is None or not forwards:
        return 0
    if is_forwarder(pid, str(namespace)):
        return pid
    return _start(lab, namespace, forwards, report_path(lab))


def open_forwarders(lab: LiveLab, name: str, forwards: Sequence[Forward]) -> dict[str, int]:
    """Have more forwarders, in a process of their own, and say which ports they have. Those that run and lead there
    already are kept; they end with the lab."""
    namespace = lab.provider.client_namespace(lab.topology)
    if namespace is None:
        return {forward.name: 0 for forward in forwards}
    report = lab.paths.runtime / f"forwards-{name}.json"
    note = lab.paths.runtime / f"forwards-{name}.pid"
    arguments = [forward.argument for forward in forwards]
    try:
        pid = int(note.read_text())
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode().split("\0")
    except (OSError, ValueError):
        pid, words = 0, []
    if not (is_forwarder(pid, str(namespace)) and set(arguments) <= set(words)):
        if is_forwarder(pid, str(namespace)):
            os.kill(pid, signal.SIGTERM)
        note.write_text(str(_start(lab, namespace, forwards, report)))
    ports: dict[str, int] = json.loads(report.read_text())
    return ports


def _start(lab: LiveLab, namespace: Path, forwards: Sequence[Forward], report: Path) -> int:
    report.unlink(missing_ok=True)
    lab.paths.logs.mkdir(parents=True, exist_ok=True)
    with (lab.paths.logs / "forward.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - an argv list; the forwarder outlives us
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

    hint = f"see {lab.paths.logs / 'forward.log'}"

    def probe() -> None:
        if report.exists():
            return
        if process.poll() is not None:
            raise LabError(f"forwarders: ended at once (exit {process.returncode})", hint)
        raise NotYet(f"no report from pid {process.pid}")

    wait_for("forwarders", probe, timeout=10, hint=hint)
    return process.pid


def is_forwarder(pid: int, netns: str, proc: Path = Path("/proc")) -> bool:
    """Whether that process is this lab's forwarder: pids are given again, to anybody."""
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"rackbox.forward" in words and netns.encode() in words

"""Starts and finds the forwarders from the host's 127.0.0.1 into the lab; the process itself is ``rackbox.forward``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rackbox.background import end_background, start_background
from rackbox.config_kubernetes import API_SERVICE
from rackbox.forward import Forward
from rackbox.lab import LiveLab
from rackbox.topology import Topology

MODULE = "rackbox.forward"


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
    """Have the lab's forwarder process, which ``pid`` may be, lead where the topology says; its pid (0 = nothing to
    forward)."""
    namespace = lab.provider.client_namespace(lab.topology)
    if namespace is None:
        return 0
    forwards = plan_forwards(lab.topology)
    if forwards and read_arguments(pid, str(namespace)) == {forward.argument for forward in forwards}:
        return pid
    _end(pid, namespace)
    return _start(lab, namespace, forwards, report_path(lab)) if forwards else 0


def open_forwarders(lab: LiveLab, name: str, forwards: Sequence[Forward]) -> dict[str, int]:
    """Have more forwarders, in a process of their own, and say which ports they have. Those that run and lead there
    already are kept; they end with the lab."""
    namespace = lab.provider.client_namespace(lab.topology)
    if namespace is None:
        return {forward.name: 0 for forward in forwards}
    report = lab.paths.runtime / f"forwards-{name}.json"
    note = lab.paths.runtime / f"forwards-{name}.pid"
    try:
        pid = int(note.read_text())
    except (OSError, ValueError):
        pid = 0
    told = read_arguments(pid, str(namespace))
    if not told or not {forward.argument for forward in forwards} <= told:
        _end(pid, namespace)
        note.write_text(str(_start(lab, namespace, forwards, report)))
    ports: dict[str, int] = json.loads(report.read_text())
    return ports


def _start(lab: LiveLab, namespace: Path, forwards: Sequence[Forward], report: Path) -> int:
    arguments = [str(namespace), str(report), *(forward.argument for forward in forwards)]
    log = lab.paths.logs / "forward.log"
    return start_background("forwarders", MODULE, arguments, log=log, report=report, timeout=10)


def _end(pid: int, namespace: Path) -> None:
    """Its ports are free afterwards."""
    end_background(lambda: pid if is_forwarder(pid, str(namespace)) else 0)


def is_forwarder(pid: int, netns: str, proc: Path = Path("/proc")) -> bool:
    """Whether that process is this lab's forwarder: pids are given again, to anybody."""
    return _is_ours(_read_words(pid, proc), netns)


def read_arguments(pid: int, netns: str, proc: Path = Path("/proc")) -> set[str]:
    """What the forwarder with that pid was told to forward; nothing for a process that is not this lab's forwarder."""
    words = _read_words(pid, proc)
    return {*words[words.index(MODULE) + 3 :]} - {""} if _is_ours(words, netns) else set()


def _is_ours(words: Sequence[str], netns: str) -> bool:
    return MODULE in words and netns in words


def _read_words(pid: int, proc: Path) -> list[str]:
    try:
        return (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []

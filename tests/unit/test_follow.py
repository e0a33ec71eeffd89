"""A machine that provisions itself is followed to its end, whichever it is."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from rackbox.errors import MachineError, WaitTimeout
from rackbox.follow import follow_provisioning
from rackbox.lab import LiveLab
from rackbox.progress import MachineBoard
from tests.fakes import default_topology

pytestmark = pytest.mark.subprocess

START = '{"t": 1, "event": "start", "hook": "master/10-start-etcd.sh", "seconds": 0, "tail": []}'
FAILED = '{"t": 2, "event": "failed", "hook": "master/10-start-etcd.sh", "seconds": 1, "tail": ["no such member"]}'
DONE = '{"t": 2, "event": "done", "hook": "", "seconds": 1.5, "tail": []}'


@dataclass
class Connections:
    """``streams``: what each connection says before it breaks; when there are no more, nothing answers."""

    streams: list[list[str]]
    followed: list[subprocess.Popen[str]] = field(default_factory=list)

    def open(self, name: str) -> bool:
        return bool(self.streams)

    def close(self, name: str) -> None: ...

    def follow(self, name: str, command: Sequence[str]) -> subprocess.Popen[str]:
        argv = ["printf", "%s\\n", *self.streams.pop(0)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.followed.append(process)
        return process


def follow(streams: list[list[str]], *, runs: bool = True, timeout: float = 5.0) -> None:
    topology = default_topology()
    fake: Any = SimpleNamespace(
        topology=topology,
        paths=SimpleNamespace(root=Path("/nowhere")),
        connections=Connections(streams),
        machine=lambda name: SimpleNamespace(is_running=lambda: runs),
        provider=SimpleNamespace(console_tail=lambda node, paths, lines: ["the console's last line"]),
    )
    board = MachineBoard(Console(quiet=True), ["master1"])
    try:
        follow_provisioning(cast(LiveLab, fake), topology.node("master1"), board, threading.Event(), timeout)
    finally:
        assert all(process.poll() is not None for process in fake.connections.followed)


def test_done_is_the_end() -> None:
    follow([[START, DONE]])


def test_a_connection_that_breaks_is_taken_up_again() -> None:
    follow([[START], [START, DONE]])


def test_a_failed_hook_is_told_with_machine_hook_and_last_lines() -> None:
    with pytest.raises(MachineError, match=r"(?s)^master1: hook master/10-start-etcd.sh failed.*no such member"):
        follow([[START, FAILED]])


def test_a_machine_that_stops_is_told_at_once() -> None:
    expected = r"(?s)^master1: stopped .*connection lost after: start master/10-start-etcd.sh.*the console's"
    with pytest.raises(MachineError, match=expected):
        follow([[START]], runs=False, timeout=30)


def test_a_machine_that_never_answers_is_told_when_the_time_is_over() -> None:
    with pytest.raises(WaitTimeout, match=r"master1: not provisioned within 0.5 s; last seen: no answer by SSH yet"):
        follow([], runs=False, timeout=0.5)

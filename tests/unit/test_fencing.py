"""The lab's power switch: whom it serves, what it does, and that a pulled plug stays pulled. Real TLS on 127.0.0.1."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import urllib3

from rackbox.credentials import ensure_credentials
from rackbox.errors import CommandFailed
from rackbox.fence import FenceServer, make_tls
from rackbox.fencing import find_fencing, needs_fencing
from rackbox.lab import is_unplugged, plug_in
from rackbox.paths import LabPaths
from rackbox.topology import Node, Topology
from tests.rendering import shipped

pytestmark = pytest.mark.loopback


@dataclass
class Provider:
    """Power that is only written down."""

    acts: list[str] = field(default_factory=list)
    broken: bool = False
    off: set[str] = field(default_factory=set)

    def cut_power(self, topology: Topology, node: Node) -> None:
        if self.broken:
            raise CommandFailed("the hypervisor does not answer")
        self.off.add(node.name)
        self.acts.append(f"cut {node.name}")

    def power_off(self, topology: Topology, node: Node) -> None:
        self.off.add(node.name)
        self.acts.append(f"off {node.name}")

    def power_on(self, topology: Topology, node: Node) -> bool:
        self.off.discard(node.name)
        self.acts.append(f"on {node.name}")
        return True

    def running(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        return frozenset({node.name for node in topology.nodes} - self.off)


@dataclass
class Switch:
    """A running power switch, and how to speak to it."""

    url: str
    secrets: Path
    provider: Provider
    paths: LabPaths

    def ask(self, method: str, path: str, who: str = "lb1") -> requests.Response:
        pair = self.secrets / "nodes" / who
        cert = (str(pair / f"{who}.pem"), str(pair / f"{who}.key"))
        return requests.request(method, f"{self.url}/{path}", cert=cert, verify=str(self.secrets / "ca.pem"), timeout=5)

    def wait_for(self, act: str) -> None:
        deadline = time.monotonic() + 5
        while act not in self.provider.acts and time.monotonic() < deadline:
            time.sleep(0.01)
        assert act in self.provider.acts


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    topology = _at_home(shipped("small"))
    paths = LabPaths(root=tmp_path / "lab", runtime=tmp_path / "run", runs=tmp_path / "runs")
    ensure_credentials(topology, paths.secrets)
    provider = Provider()
    lab: Any = SimpleNamespace(topology=topology, paths=paths, provider=provider)
    started: list[int] = []
    stop = threading.Event()

    def serve() -> None:
        import asyncio

        async def run() -> None:
            context = make_tls(paths.secrets)
            server = await asyncio.start_server(FenceServer(lab).handle, "127.0.0.1", 0, ssl=context)
            async with server:
                started.append(server.sockets[0].getsockname()[1])
                while not stop.is_set():
                    await asyncio.sleep(0.01)

        asyncio.run(run())

    thread = threading.Thread(target=serve)
    thread.start()
    deadline = time.monotonic() + 10
    while not started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield Switch(f"https://127.0.0.1:{started[0]}/v1", paths.secrets, provider, paths)
    stop.set()
    thread.join(10)


def _at_home(topology: Topology) -> Topology:
    """The same lab with the host's management address on 127.0.0.1, so that the certificate fits."""
    from ipaddress import IPv4Address

    home = tuple(
        replace(network, client=IPv4Address("127.0.0.1")) if network.name == "mgmt" else network
        for network in topology.networks
    )
    return replace(topology, networks=home)


def test_off_is_answered_when_it_is_off(switch: Switch) -> None:
    answer = switch.ask("POST", "lb2/off")
    assert (answer.status_code, answer.text, switch.provider.acts[0]) == (200, "off\n", "cut lb2")
    assert switch.ask("GET", "lb2/status").text == "off\n"
    assert switch.ask("POST", "lb2/on").text == "on\n"
    assert switch.ask("GET", "lb2/status").text == "on\n"


def test_reboot_puts_the_power_back(switch: Switch) -> None:
    assert switch.ask("POST", "lb2/reboot").text == "off\n"
    switch.wait_for("on lb2")
    assert switch.provider.acts == ["cut lb2", "off lb2", "on lb2"]


def test_a_pulled_plug_stays_pulled(switch: Switch) -> None:
    mark = switch.paths.runtime / "unplugged" / "lb2"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert switch.ask("POST", "lb2/reboot").text == "off\n"
    time.sleep(0.6)
    assert switch.provider.acts == ["cut lb2", "off lb2"]
    plug_in(switch.paths, "lb2")
    assert not is_unplugged(switch.paths, "lb2")


def test_who_puts_the_plug_in_again_starts_the_machine_alone(switch: Switch) -> None:
    """Else a machine that `up` is about to start would start before its seed is there."""
    mark = switch.paths.runtime / "unplugged" / "lb2"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert switch.ask("POST", "lb2/reboot").text == "off\n"
    plug_in(switch.paths, "lb2")
    time.sleep(0.6)
    assert switch.provider.acts == ["cut lb2", "off lb2"]


def test_only_balancers_and_only_about_balancers(switch: Switch) -> None:
    assert switch.ask("POST", "lb2/off", who="master1").status_code == 403
    assert switch.ask("POST", "master1/off").status_code == 404
    assert switch.ask("POST", "lb2/explode").status_code == 404
    assert switch.ask("GET", "lb2/off").status_code == 405
    assert switch.ask("GET", "list").text == "lb1 lb2\n"
    assert switch.provider.acts == []


def test_a_stranger_gets_no_word_in(switch: Switch) -> None:
    with pytest.raises((requests.exceptions.RequestException, urllib3.exceptions.HTTPError)):
        requests.post(f"{switch.url}/lb2/off", verify=str(switch.secrets / "ca.pem"), timeout=5)
    assert switch.provider.acts == []


def test_a_failure_is_not_taken_for_success(switch: Switch) -> None:
    switch.provider.broken = True
    answer = switch.ask("POST", "lb2/off")
    assert answer.status_code == 500
    assert "does not answer" in answer.text


def test_who_needs_fencing() -> None:
    small = shipped("small")
    assert small.load_balancer is not None
    assert needs_fencing(small)
    assert not needs_fencing(replace(small, load_balancer=replace(small.load_balancer, fencing=False)))
    assert not needs_fencing(replace(small, load_balancer=replace(small.load_balancer, ha="keepalived")))
    assert not needs_fencing(replace(small, load_balancer=None))


def test_a_pid_given_again_is_nobody_s_power_switch(tmp_path: Path) -> None:
    paths = LabPaths(root=tmp_path / "lab", runtime=tmp_path / "run", runs=tmp_path / "runs")
    paths.runtime.mkdir()
    report = paths.runtime / "fence.json"
    proc = tmp_path / "proc" / "77"
    proc.mkdir(parents=True)
    assert find_fencing(paths, tmp_path / "proc") == 0
    report.write_text(json.dumps({"pid": 77}))
    (proc / "cmdline").write_bytes(b"sleep\x0099\x00")
    assert find_fencing(paths, tmp_path / "proc") == 0
    (proc / "cmdline").write_bytes(
        b"\x00".join([b"python", b"-m", b"rackbox.fence", b"lab.yaml", str(report).encode()])
    )
    assert find_fencing(paths, tmp_path / "proc") == 77
    report.write_text("{")
    assert find_fencing(paths, tmp_path / "proc") == 0

"""The world beyond the WAN: a network namespace of the test's own, at the far end of the lab's WAN bridge.

It stands at the address that the gateway sends everything to, with a web server that tells each client its address and
a name server that knows one name. Entry point: ``outside_of``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rackbox.run import Result, run
from rackbox.wait import NotYet, wait_for
from tests.e2e.labs import HERE, LabUnderTest

NAME = "www.outside.test"
PORT = 8080

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])).close()
    print("connected")
except TimeoutError:
    print("silence")
except OSError as error:
    print(f"answered: {error}")
"""


@dataclass(frozen=True, slots=True)
class Outside:
    """``address`` is the outside's own, ``gateway`` the lab's gateway as seen from there."""

    netns: str
    address: str
    gateway: str

    @property
    def url(self) -> str:
        return f"http://{self.address}:{PORT}/"

    def run(self, argv: list[str], *, timeout: float = 10.0) -> Result:
        return run(["ip", "netns", "exec", self.netns, *argv], timeout=timeout)

    def connect(self, address: str, port: int, patience: float = 1.5) -> str:
        """``connected``, ``silence`` (nothing came back), or ``answered: …`` (a refusal)."""
        argv = [sys.executable, "-c", CONNECT, address, str(port), str(patience)]
        return self.run(argv).stdout.strip()


@contextmanager
def outside_of(lab: LabUnderTest) -> Iterator[Outside]:
    topology = lab.live.topology
    wan, place = topology.network("wan"), f"rackbox-{topology.lab}"
    gateway = topology.by_role("gateway")[0].nic("wan").address.ip
    outside = Outside(f"outside-of-{topology.lab}", str(wan.gateway), str(gateway))
    run(["ip", "netns", "add", outside.netns], timeout=10)
    server: subprocess.Popen[bytes] | None = None
    try:
        # One end is born in each namespace: the host's own network sees nothing of it.
        link = ["ip", "link", "add", "far", "netns", outside.netns, "type", "veth", "peer", "name", "outside"]
        run([*link, "netns", place], timeout=10)
        run(["ip", "-n", place, "link", "set", "dev", "outside", "master", "wan", "up"], timeout=10)
        for words in (
            ["link", "set", "dev", "lo", "up"],
            ["address", "add", f"{outside.address}/{wan.cidr.prefixlen}", "dev", "far"],
            ["link", "set", "dev", "far", "up"],
            # The most that an attacker could do: send everything that is the lab's to its gateway.
            *(["route", "add", str(network.cidr), "via", outside.gateway] for network in topology.lab_networks),
        ):
            run(["ip", "-n", outside.netns, *words], timeout=10)
        argv = [sys.executable, str(HERE / "outside_server.py"), outside.address, str(PORT), NAME]
        server = subprocess.Popen(["ip", "netns", "exec", outside.netns, *argv], stdin=subprocess.DEVNULL)

        def answers() -> None:
            if (seen := outside.connect(outside.address, PORT)) != "connected":
                raise NotYet(seen)

        wait_for("the server outside", answers, timeout=10)
        yield outside
    finally:
        if server is not None:
            server.kill()
            server.wait(5)
        run(["ip", "netns", "delete", outside.netns], timeout=10)

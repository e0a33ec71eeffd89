"""A TLS server behind a door that can be shut for a known time: what the instrument is calibrated against.

    python -m tests.calibration.dropper DIRECTORY

Makes credentials in DIRECTORY, prints the door's port, then reads lines ``KIND SECONDS`` and prints, when the door is
open again, the monotonic times at which it was shut and at which somebody was served again: when it was opened; after
``hold`` when the server behind it had the first request, since all that was kept arrives at once and it has to shake
some forty hands first. KIND is ``swallow`` (whatever arrives while it is shut
is dropped, and its connection never answers again, as with a machine that lost power), ``refuse`` (connections are
reset, as by a machine that lives but has nobody listening) or ``hold`` (whatever arrives goes on when it is open again,
as with a kernel that keeps packets until it knows the address anew).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rackbox.probes.runner import raise_priority
from tests.etcd_double import EtcdDouble

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, no time: close(2) sends RST (socket(7))


class Door:
    """Passes connections on to ``port``, until it is shut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kind = ""
        self._inside: set[_Client] = set()
        self._held: list[Callable[[], None]] = []

    async def open(self) -> int:
        server = await asyncio.get_running_loop().create_server(lambda: _Client(self), "127.0.0.1", 0, backlog=512)
        address = server.sockets[0].getsockname()
        return int(address[1])

    async def shut(self, kind: str, seconds: float) -> tuple[float, float]:
        """Shut it for about ``seconds``; returns the exact times."""
        begin = time.monotonic()
        self._kind = kind
        if kind == "refuse":
            for client in list(self._inside):
                client.reset()
        await asyncio.sleep(seconds)
        end = time.monotonic()
        self._kind = ""
        held, self._held = self._held, []
        for go_on in held:
            go_on()
        return begin, end

    def hold(self, go_on: Callable[[], None]) -> None:
        self._held.append(go_on)

    @property
    def kind(self) -> str:
        return self._kind

    @property
    def port(self) -> int:
        return self._port

    def enter(self, client: _Client) -> None:
        self._inside.add(client)

    def leave(self, client: _Client) -> None:
        self._inside.discard(client)


class _Client(asyncio.Protocol):
    """One connection that came to the door."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._dead = False
        self._early = b""
        self.transport: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._door.enter(self)
        if self._door.kind == "refuse":
            self.reset()
        elif self._door.kind == "swallow":
            self._dead = True
        else:
            self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self.server, _ = await loop.create_connection(lambda: _Server(self), "127.0.0.1", self._door.port)
        if self.transport is None:
            self.server.close()
        elif self._early:
            self.server.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self._door.kind == "hold":
            self._door.hold(lambda: self.data_received(data))
        elif self.passes():
            if self.server is None:
                self._early += data
            else:
                self.server.write(data)

    def passes(self) -> bool:
        """Whether bytes may pass: once some were dropped, none ever do."""
        self._dead = self._dead or self._door.kind == "swallow"
        return not self._dead

    def connection_lost(self, error: Exception | None) -> None:
        self._door.leave(self)
        self.transport = None
        if self.server is not None:
            self.server.close()

    def reset(self) -> None:
        if self.transport is not None:
            plain = self.transport.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()


class _Server(asyncio.Protocol):
    """The same connection's other half."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        if self._client.passes() and self._client.transport is not None:
            self._client.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._client.passes() and self._client.transport is not None:
            self._client.transport.close()


async def serve(directory: Path) -> None:
    loop = asyncio.get_running_loop()
    with EtcdDouble(directory) as double:
        door = Door(double.tls_port)
        print(await door.open(), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            kind, seconds = line.split()
            begin, end = await door.shut(kind, float(seconds))
            if kind == "hold":
                end = await _first_request(double, end)
            print(begin, end, flush=True)


async def _first_request(double: EtcdDouble, since: float) -> float:
    """When the server had its first request after ``since``; five seconds later if it had none."""
    while time.monotonic() < since + 5:
        if times := [when for when, _ in double.requests[-500:] if when >= since]:
            return times[0]
        await asyncio.sleep(0.01)
    return since + 5


if __name__ == "__main__":
    raise_priority()
    asyncio.run(serve(Path(sys.argv[1])))

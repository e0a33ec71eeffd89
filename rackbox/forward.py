"""Forwarders: ports on the host's 127.0.0.1 that lead to services inside a lab's network namespace.

``python -m rackbox.forward NETNS REPORT NAME=PORT=ADDRESS:PORT …`` listens first, in the host's namespace, then enters
the lab's: a listening socket stays where it was made, and every connection made afterwards starts inside. A preferred
port that is taken is replaced by a free one; what was really opened is written to REPORT as JSON.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
"""setns(2)"""
CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Forward:
    """One forwarder: ``port`` is the preferred one on 127.0.0.1."""

    name: str
    port: int
    target: str
    target_port: int

    @property
    def argument(self) -> str:
        return f"{self.name}={self.port}={self.target}:{self.target_port}"


def parse_forward(text: str) -> Forward:
    name, port, target = text.split("=")
    address, _, target_port = target.rpartition(":")
    return Forward(name, int(port), address, int(target_port))


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def _enter_network(netns: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with netns.open() as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}", str(netns))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


async def _serve(listener: socket.socket, forward: Forward) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.wait_for(
                asyncio.open_connection(forward.target, forward.target_port), timeout=10
            )
        except (OSError, TimeoutError):
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        far_writer.close()
        writer.close()

    server = await asyncio.start_server(handle, sock=listener)
    async with server:
        await server.serve_forever()


async def _main(netns: Path, report: Path, forwards: list[Forward]) -> None:
    listeners = [_listen(forward.port) for forward in forwards]
    _enter_network(netns)
    opened = {forward.name: sock.getsockname()[1] for forward, sock in zip(forwards, listeners, strict=True)}
    part = report.with_suffix(".part")
    part.write_text(json.dumps(opened))
    part.replace(report)
    tasks = [asyncio.create_task(_serve(sock, forward)) for forward, sock in zip(forwards, listeners, strict=True)]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: [task.cancel() for task in tasks] and None)
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2]), [parse_forward(text) for text in sys.argv[3:]]))

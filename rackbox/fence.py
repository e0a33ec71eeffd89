"""The lab's power switch, for its own cluster: ``python -m rackbox.fence LAB_FILE PROVIDER``, in the lab's namespace.

Pacemaker's fence agent in a balancer (``provision/lb/files/usr/sbin/fence_rackbox``) asks here, over the management
network, to have the other balancer switched off before its floating IP is taken, as it would ask a rack's power
distribution unit. TLS with client certificates of the lab's CA: only a balancer is served, and only about balancers.

``POST /v1/<machine>/off|on|reboot`` answers 200 once the machine *is* off (on); ``GET /v1/<machine>/status`` answers
``on`` or ``off``; ``GET /v1/list`` names the machines. A reboot answers when the machine is off and puts the power back
afterwards, unless somebody has pulled the plug for good (``rackbox.lab.LiveMachine.power_off``).
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rackbox.errors import LabError
from rackbox.lab import LiveLab, is_unplugged, open_booted_lab
from rackbox.render import FENCE_PORT
from rackbox.topology import MANAGEMENT

CLONE_NEWNET = 0x40000000
"""setns(2)"""
REBOOT_PAUSE = 0.3
"""Seconds between off and on: as a power distribution unit does, so that everybody sees the machine go."""
ACTIONS = ("status", "off", "on", "reboot")
REQUEST_SECONDS = 5.0


class FenceServer:
    """Answers for one lab's balancers."""

    def __init__(self, lab: LiveLab) -> None:
        self._lab = lab
        self._machines = {node.name for node in lab.topology.by_role("lb")}
        self._busy: dict[str, asyncio.Lock] = {name: asyncio.Lock() for name in self._machines}
        self._later: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        begun = time.monotonic()
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_SECONDS)
            method, path = head.split(b"\r\n")[0].decode("ascii", "replace").split(" ")[:2]
            who = _name_of(writer)
            status, text = await self._answer(method, path, who)
            _say(f"{who}: {method} {path}: {status} {text} ({(time.monotonic() - begun) * 1000:.0f} ms)")
            body = f"{text}\n".encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
            await writer.drain()
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
            _say(f"a request failed: {type(error).__name__}: {error}")
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, who: str) -> tuple[str, str]:
        words = path.strip("/").split("/")
        if who not in self._machines:
            return "403 Forbidden", f"{who} is no balancer of this lab"
        if words == ["v1", "list"]:
            return "200 OK", " ".join(sorted(self._machines))
        if len(words) != 3 or words[0] != "v1" or words[2] not in ACTIONS:
            return "404 Not Found", f"no such thing: {path}"
        name, action = words[1:]
        if name not in self._machines:
            return "404 Not Found", f"{name} is no balancer of this lab"
        if method != ("GET" if action == "status" else "POST"):
            return "405 Method Not Allowed", method
        try:
            return "200 OK", await self._act(name, action)
        except LabError as error:
            return "500 Internal Server Error", error.message

    async def _act(self, name: str, action: str) -> str:
        lab = self._lab
        node = lab.topology.node(name)
        if action == "status":
            async with self._busy[name]:  # what has been cut is off only once it has been tidied up
                running = await asyncio.to_thread(lab.provider.running, lab.topology, lab.paths)
            return "on" if name in running else "off"
        async with self._busy[name]:
            if action == "on":
                await self._power_on(name)
                return "on"
            # Whoever has pulled the plug and puts it in again starts the machine, too, and may do so at any moment.
            comes_back = action == "reboot" and not is_unplugged(lab.paths, name)
            await asyncio.to_thread(lab.provider.cut_power, lab.topology, node)
        task = asyncio.create_task(self._settle(name, comes_back=comes_back))
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        return "off"

    async def _settle(self, name: str, *, comes_back: bool) -> None:
        """What need not be waited for by a cluster that only wants to know that the machine is dead."""
        async with self._busy[name]:
            try:
                await asyncio.to_thread(self._lab.provider.power_off, self._lab.topology, self._lab.topology.node(name))
                if comes_back:
                    await asyncio.sleep(REBOOT_PAUSE)
                    await self._power_on(name)
            except LabError as error:
                _say(f"{name}: power could not be {'put back' if comes_back else 'cut'}: {error.message}")

    async def _power_on(self, name: str) -> None:
        lab = self._lab
        if is_unplugged(lab.paths, name):
            _say(f"{name}: stays off, its plug is pulled")
            return
        await asyncio.to_thread(lab.provider.power_on, lab.topology, lab.topology.node(name))
        if is_unplugged(lab.paths, name):  # pulled in the very moment
            await asyncio.to_thread(lab.provider.power_off, lab.topology, lab.topology.node(name))


def _name_of(writer: asyncio.StreamWriter) -> str:
    """The machine whose certificate the client showed: the first of its DNS names."""
    certificate = writer.get_extra_info("peercert") or {}
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return str(names[0]) if names else "?"


def _say(text: str) -> None:
    """Stamped to the millisecond: ``rackbox.logs`` reads from here when a machine was fenced."""
    print(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}", flush=True)


def make_tls(secrets: Path) -> ssl.SSLContext:
    """Shows the lab's power switch's certificate and wants one of the lab's CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(secrets / "fence.pem", secrets / "fence.key")
    context.load_verify_locations(secrets / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def enter_network(netns: Path) -> None:
    """Move this process into a network namespace; it needs to be root."""
    libc = ctypes.CDLL(None, use_errno=True)
    with netns.open() as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}", str(netns))


async def serve(lab: LiveLab, address: str, port: int, report: Path) -> None:
    """Listen there until SIGTERM; ``report`` is written once it listens. Port 0 takes a free one."""
    server = await asyncio.start_server(FenceServer(lab).handle, address, port, ssl=make_tls(lab.paths.secrets))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    part = report.with_suffix(".part")
    part.write_text(json.dumps({"pid": os.getpid(), "address": address, "port": server.sockets[0].getsockname()[1]}))
    part.replace(report)
    async with server:
        await stop.wait()


def main(lab_file: Path, report: Path) -> int:
    lab = open_booted_lab(lab_file)
    if lab is None:
        print(f"no lab was booted from {lab_file}", file=sys.stderr)
        return 1
    lab.provider.hold_power(lab.topology)
    namespace = lab.provider.client_namespace(lab.topology)
    if namespace is not None:
        enter_network(namespace)
    asyncio.run(serve(lab, str(lab.topology.network(MANAGEMENT).client), FENCE_PORT, report))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

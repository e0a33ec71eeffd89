"""A double of a pod whose log is followed through the Kubernetes API: what `probes/api_logs.py` has a cluster make.

A DNS server on the port that the config map says, which logs the names that it is asked for as CoreDNS does, and the
log's stream as a kubelet sends it: with times of nine digits, from a whole second on. ``lose_event`` and
``repeat_event``: of the next name, no line, or two. ``slow_start``: how often the pod is not running yet.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rackbox.probes.dns import pack_question
from tests.api_double import ApiDouble


class LogsDouble(ApiDouble):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.slow_start = 2
        self.since: list[str] = []
        self.removed = False
        self._server: asyncio.DatagramTransport | None = None
        self._lines: list[tuple[int, bytes]] = [(time.time_ns(), b"CoreDNS-1.14.0")]

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self.loop.call_soon_threadsafe(self._server.abort)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(5)
        super().__exit__()

    def answer(self, method: str, path: str, message: dict[str, Any]) -> tuple[int, Any]:
        if path.endswith("/deployments/coredns"):
            spec = {"template": {"spec": {"containers": [{"image": "registry.example/coredns:v1"}]}}}
            return 200, {"kind": "Deployment", "spec": spec}
        if path.endswith("/configmaps/rackbox-probe-logs") and method == "PATCH":
            port = int(message["data"]["probe"].split()[0].removeprefix(".:"))
            self.loop.create_task(self._serve_names(port))
            return 200, {"kind": "ConfigMap"}
        if path.endswith("/pods/rackbox-probe-logs"):
            if method == "PATCH":
                assert message["spec"]["hostNetwork"] is True
                assert message["spec"]["containers"][0]["image"] == "registry.example/coredns:v1"
                return 201, {"kind": "Pod"}
            self.slow_start -= 1
            status = {"phase": "Pending"} if self.slow_start > 0 else {"phase": "Running", "hostIP": "127.0.0.1"}
            return 200, {"kind": "Pod", "status": status}
        self.removed |= method == "DELETE"
        return super().answer(method, path, message)

    async def stream(self, query: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert query["timestamps"] == "true"
        self.since.append(query.get("sinceTime", ""))
        after = datetime.fromisoformat(self.since[-1]).timestamp() if self.since[-1] else 0.0
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for when, text in self._lines:
            if when >= int(after) * 10**9:
                _send(writer, when, text)
        self.watchers.append(writer)
        await reader.read()

    async def _serve_names(self, port: int) -> None:
        here = ("127.0.0.1", port)
        self._server, _ = await self.loop.create_datagram_endpoint(lambda: _Server(self), local_addr=here)

    def log(self, name: str) -> None:
        times = 0 if self.lose_event else 2 if self.repeat_event else 1
        if name.startswith("tick-"):
            self.lose_event = self.repeat_event = False
        for _ in range(times):
            line = (time.time_ns(), f"[INFO] {name}".encode())
            self._lines.append(line)
            for writer in self.watchers:
                _send(writer, *line)


class _Server(asyncio.DatagramProtocol):
    def __init__(self, double: LogsDouble) -> None:
        self._double = double

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        label = data[13 : 13 + data[12]].decode()
        answer = bytearray(pack_question(int.from_bytes(data[:2], "big"), label))
        answer[2] |= 0x80
        self._transport.sendto(bytes(answer), address)
        self._double.log(f"{label}.")


def _send(writer: asyncio.StreamWriter, when: int, text: bytes) -> None:
    second = f"{datetime.fromtimestamp(when // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{when % 10**9:09d}Z"
    line = second.encode() + b" " + text + b"\n"
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))

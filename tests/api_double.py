"""A double of the Kubernetes API's config maps on 127.0.0.1, with TLS and client certificates, that can be made to lie.

``forget``: the next object is acknowledged and not kept. ``repeat``: the next request is taken twice. ``lose_event``
and ``repeat_event``: of the next object, no event, or two. ``forget_past``: the next watch is told that its revision is
too old. ``cut_streams`` ends all watches.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.tls_double import TlsDouble, port_of

SPACES = "/api/v1/namespaces"


class ApiDouble(TlsDouble):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.forget = self.repeat = self.lose_event = self.repeat_event = self.forget_past = False
        self.maps: dict[str, dict[str, Any]] = {}
        self.watched_from: list[int] = []
        self._revision = 1000
        self._past: list[dict[str, Any]] = []
        self.watchers: list[asyncio.StreamWriter] = []

    def cut_streams(self) -> None:
        watchers, self.watchers = self.watchers, []
        self.abort_all(watchers)

    async def listen(self) -> list[asyncio.Server]:
        server = await self.listen_tls(self._serve)
        self.port = port_of(server)
        return [server]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target = head.split(" ")[:2]
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            body = await reader.readexactly(length)
            query = {key: values[0] for key, values in parse_qs(urlsplit(target).query).items()}
            if "watch" in query or "follow" in query:
                await self.stream(query, reader, writer)
                return
            for _ in range(2 if self.repeat and method == "POST" else 1):
                status, answer = self.answer(method, urlsplit(target).path, json.loads(body or b"{}"))
            self.repeat = self.repeat and method != "POST"
            data = json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data))
            await writer.drain()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def answer(self, method: str, path: str, message: dict[str, Any]) -> tuple[int, Any]:
        if path == SPACES and method == "POST":
            return 201, {"kind": "Namespace", **message}
        if path.count("/") == 4:
            if method == "DELETE":
                self.maps.clear()
            return 200, {"kind": "Namespace"}
        assert path.endswith("/configmaps"), path
        if method == "GET":
            meta = {"resourceVersion": str(self._revision)}
            return 200, {"kind": "ConfigMapList", "metadata": meta, "items": list(self.maps.values())}
        name = message["metadata"]["name"]
        if name in self.maps:
            return 409, {"kind": "Status", "code": 409}
        self._revision += 1
        message["metadata"]["resourceVersion"] = str(self._revision)
        if self.forget:
            self.forget = False
        else:
            self.maps[name] = message
        self._tell(message)
        return 201, {"kind": "ConfigMap", **message}

    def _tell(self, thing: dict[str, Any]) -> None:
        times = 0 if self.lose_event else 2 if self.repeat_event else 1
        self.lose_event = self.repeat_event = False
        self._past += [thing] * times
        for writer in self.watchers:
            for _ in range(times):
                _send(writer, {"type": "ADDED", "object": thing})

    async def stream(self, query: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        after = int(query["resourceVersion"])
        self.watched_from.append(after)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if self.forget_past:
            self.forget_past = False
            _send(writer, {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}})
            return
        for thing in self._past:
            if int(thing["metadata"]["resourceVersion"]) > after:
                _send(writer, {"type": "ADDED", "object": thing})
        self.watchers.append(writer)
        await reader.read()


def _send(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    line = json.dumps(event).encode() + b"\n"
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))

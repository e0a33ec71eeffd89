"""A double of etcd's JSON gateway on 127.0.0.1, with TLS and client certificates, that can be made to fail for a time.

It keeps keys with their versions as etcd does. ``refuse_until`` (monotonic seconds) makes it drop every connection;
``stall_until`` makes it accept and say nothing; ``forget`` and ``repeat`` make it a liar about writes, ``lose_event``,
``repeat_event`` and ``swap_events`` about watches, each for one event. ``cut_streams`` ends all watches,
``cut_connections`` everything; ``mute_until`` lets requests in and answers none, ``hush_until``
makes open watches fall silent for ever.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import time
from pathlib import Path
from typing import Any

from tests.tls_double import TlsDouble, port_of


class EtcdDouble(TlsDouble):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.refuse_until = 0.0
        self.stall_until = 0.0
        self.forget = False
        self.repeat = False
        self.lose_event = False
        self.hush_until = 0.0
        self.repeat_event = False
        self.swap_events = False
        self.connections = 0
        self.mute_until = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self.chunked = False
        self.status = 200
        self._inner_port = 0
        self.requests: list[tuple[float, str]] = []
        self.protocols: set[str | None] = set()
        self.resumed = 0
        self._kept: dict[str, tuple[str, int]] = {}
        self._events: list[dict[str, Any]] = []
        self._watches: list[tuple[asyncio.StreamWriter, str, str]] = []
        self._held_back: list[dict[str, Any]] = []

    async def listen(self) -> list[asyncio.Server]:
        with contextlib.suppress(OSError):  # on a busy computer it must answer in time all the same
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        inner = await self.listen_tls(self._serve)
        outer = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self._inner_port, self.port = port_of(inner), port_of(outer)
        return [inner, outer]

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The outer door, where connections are dropped or left hanging before any TLS is spoken."""
        try:
            if time.monotonic() < self.refuse_until:
                return
            while time.monotonic() < self.stall_until:
                await asyncio.sleep(0.005)
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
            await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        self.protocols.add(tls.version())
        self.resumed += bool(tls.session_reused)
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        message = json.loads(await reader.readexactly(length))
        self.requests.append((time.monotonic(), path))
        if path == "/v3/watch":
            await self._watch(message["create_request"], reader, writer)
            return False
        while time.monotonic() < self.mute_until:
            await asyncio.sleep(0.005)
        body = json.dumps(self._answer(path.rpartition("/")[2], message)).encode()
        if self.chunked:
            half = len(body) // 2
            parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (self.status, len(body), body))
        await writer.drain()
        return "connection: keep-alive" in head.lower()

    async def _watch(self, wish: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Events from ``start_revision`` on, until either side hangs up."""
        first = int(wish.get("start_revision", self.revision + 1))
        start, end = (base64.b64decode(wish[name]).decode() for name in ("key", "range_end"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._tell(writer, {"header": self._header, "created": True})
        for event in self._events:
            if int(event["kv"]["mod_revision"]) >= first:
                self._tell(writer, {"header": self._header, "events": [event]})
        self._watches.append((writer, start, end))
        await reader.read()

    def _tell(self, writer: asyncio.StreamWriter, result: dict[str, Any]) -> None:
        line = json.dumps({"result": result}).encode() + b"\n"
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _publish(self, key: str, value: str) -> None:
        revision = str(self.revision + 1)
        event = {"kv": {"key": base64.b64encode(key.encode()).decode(), "value": value, "mod_revision": revision}}
        self._events.append(event)
        if time.monotonic() < self.hush_until:
            self._watches.clear()
            return
        if self.lose_event:
            self.lose_event = False
            return
        events = [event, event] if self.repeat_event else [event]
        self.repeat_event = False
        if self.swap_events:
            self.swap_events = False
            self._held_back = events
            return
        events += self._held_back
        self._held_back = []
        for writer, start, end in self._watches:
            if start <= key < end and not writer.is_closing():
                self._tell(writer, {"header": self._header, "events": events})

    def cut_connections(self) -> None:
        """Every connection, whatever it does."""
        self.abort_all(self._writers)

    def cut_streams(self) -> None:
        watches, self._watches = self._watches, []
        self.abort_all(writer for writer, _, _ in watches)

    @property
    def revision(self) -> int:
        return len(self._events) + 1

    @property
    def _header(self) -> dict[str, str]:
        return {"cluster_id": "1", "member_id": "255", "revision": str(self.revision), "raft_term": "2"}

    def _answer(self, method: str, message: dict[str, Any]) -> dict[str, Any]:
        header = self._header
        key = base64.b64decode(message["key"]).decode()
        if method == "put":
            if not self.forget:
                value, version = message["value"], self._kept.get(key, ("", 0))[1]
                self._kept[key] = (value, version + (2 if self.repeat else 1))
                self._publish(key, value)
            return {"header": self._header}
        if "range_end" in message:
            end = base64.b64decode(message["range_end"]).decode()
            keys = [name for name in self._kept if key <= name < end]
        else:
            keys = [key] if key in self._kept else []
        if method == "deleterange":
            for name in keys:
                del self._kept[name]
            return {"header": header, "deleted": str(len(keys))}
        entries = [
            {
                "key": base64.b64encode(name.encode()).decode(),
                "value": self._kept[name][0],
                "version": str(self._kept[name][1]),
            }
            for name in keys
        ]
        return {"header": header, "kvs": entries, "count": str(len(keys))}

    @property
    def tls_port(self) -> int:
        """Where it speaks TLS at once, past the door at which connections are dropped."""
        return self._inner_port

    @property
    def keys(self) -> list[str]:
        return list(self._kept)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

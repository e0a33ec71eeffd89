"""A stream that lives as long as it can: an etcd watch through the floating IP, as ``kubectl logs -f`` or a controller
has one. The probe writes ticks itself, each on a connection of its own, and an attempt is good when its tick's event
has come down the stream in time.

A stream that is cut is taken up again after the last revision that was seen, so nothing may be missed. It is cut when
the connection ends, and when an event of an acknowledged tick is overdue: after a silent takeover nobody tells a client
that only listens, so TCP keep-alive asks the new holder, who has never heard of the connection and resets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from rackbox.history import JsonValue
from rackbox.probes.base import Probe, ProbeFailed, ProbeSettings
from rackbox.probes.endpoints import EtcdEndpoint
from rackbox.probes.etcd import PREFIX, call, decode, encode, prefix_end, revision_of
from rackbox.probes.https import Connection, make_context, read_json

KEEPALIVE = (1, 1, 3)
"""Seconds idle, seconds between probes, probes: the least that tcp(7) can say. Go's default is 15 s, 15 s, 9."""
RETRY_SECONDS = 0.05
_NAMED = 20


class EtcdWatch(Probe[EtcdEndpoint]):
    name = "etcd-watch"
    summary = "a long-lived etcd watch, resumed when it is cut; ticks written beside it"
    aims_at = EtcdEndpoint
    pace = 5
    audits = True

    def __init__(self, settings: ProbeSettings, endpoint: EtcdEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._context = make_context(endpoint)
        self._prefix = f"{PREFIX}{settings.run_id}-ticks/"
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._putting: set[int] = set()
        self._acknowledged: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._twice: list[str] = []
        self._disorder: list[str] = []
        self._newest = 0
        self._next = 0
        self._open = False
        self._cuts = 0
        self._task: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # --- ticks

    async def attempt(self, seq: int) -> str:
        if self._task is not None and self._task.done():
            self._task.result()  # a bug: it never ends of itself
        await self._begun.wait()  # what is put before the first stream is open could not be seen on it
        key = self._key(seq)
        arrived = self._waiting[key] = asyncio.get_running_loop().create_future()
        self._putting.add(seq)
        try:
            try:
                await call(
                    self.endpoint, self._context, "put", {"key": encode(key), "value": encode(f"{time.time():.6f}")}
                )
            except (OSError, EOFError, ProbeFailed) as error:
                raise ProbeFailed(f"the put failed: {str(error) or type(error).__name__}; {self._state}") from error
            self._putting.discard(seq)
            self._acknowledged[key] = time.monotonic()
            await arrived
        finally:
            self._putting.discard(seq)
            self._waiting.pop(key, None)
        return ""

    def overdue(self, seq: int) -> str:
        key = self._key(seq)
        if key in self._acknowledged:
            return f"put acknowledged, its event did not arrive; {self._state}"
        if not self._begun.is_set():
            return "no stream yet"
        return f"the put was not answered; {self._state}"

    # --- the stream

    async def _follow(self) -> None:
        while True:
            try:
                await self._listen()
                reason = "the server ended it"
            except (OSError, EOFError, ProbeFailed) as error:
                reason = (str(error) or type(error).__name__)[:160]
            self._cut(reason)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        limit = self.settings.timeout
        request: dict[str, Any] = {"key": encode(self._prefix), "range_end": encode(prefix_end(self._prefix))}
        if self._next:
            request["start_revision"] = str(self._next)
        async with asyncio.timeout(limit):
            connection = await Connection.open(self.endpoint, self._context)
        try:
            connection.watch_peer(*KEEPALIVE)
            lines = connection.stream("/v3/watch", json.dumps({"create_request": request}).encode())
            while True:
                line = await self._next_line(lines, limit)
                if line is None:
                    return
                self._take(line)
        finally:
            connection.abort()

    async def _next_line(self, lines: Any, limit: float) -> bytes | None:
        """The next line, however long it takes, unless the event of an acknowledged tick is overdue."""
        waiting = asyncio.ensure_future(anext(lines, None))
        begun = time.monotonic()
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=limit / 4)
                if done:
                    line: bytes | None = waiting.result()
                    return line
                now = time.monotonic()
                if not self._open and now - begun > limit:
                    raise ProbeFailed(f"no answer for {now - begun:.1f} s")
                missing = [when for key, when in self._acknowledged.items() if key not in self._seen and when > begun]
                if self._open and missing and now - min(missing) > limit:
                    raise ProbeFailed(f"silent: an event is {now - min(missing):.1f} s late")
        finally:
            if not waiting.done():
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError, EOFError, ProbeFailed):
                    await waiting

    def _take(self, line: bytes) -> None:
        message = read_json(line)
        result = message.get("result")
        if not isinstance(result, dict) or not isinstance(result.get("header"), dict):
            raise ProbeFailed(f"not a watch's answer: {line[:120].decode(errors='replace')}")
        if result.get("canceled"):
            compacted = str(result.get("compact_revision", ""))
            if compacted.isdigit():
                self._next = max(self._next, int(compacted))
            raise ProbeFailed(f"cancelled: {result.get('cancel_reason', 'no reason given')}")
        if result.get("created") and not self._open:
            self._open = True
            self._next = self._next or revision_of(result) + 1
            self.note("stream", state="open", reason=f"after revision {self._next - 1}")
            self._begun.set()
        for event in result.get("events", ()):
            self._take_event(event["kv"])

    def _take_event(self, entry: Mapping[str, Any]) -> None:
        key, revision = decode(entry["key"]), int(entry["mod_revision"])
        if key in self._seen:
            self._twice.append(key)
        if revision <= self._newest:
            self._disorder.append(f"{key}: revision {revision} after {self._newest}")
        self._newest = max(self._newest, revision)
        self._next = self._newest + 1
        self._seen[key] = revision
        if (arrived := self._waiting.get(key)) is not None and not arrived.done():
            arrived.set_result(None)

    def _cut(self, reason: str) -> None:
        if self._open:
            self._open = False
            self._cuts += 1
            self.note("stream", state="cut", reason=reason)

    # --- afterwards

    async def audit(self) -> Mapping[str, JsonValue]:
        """Every acknowledged tick's event must have come, once, and in the order of revisions; late is not lost."""
        if lost := [key for key in self._acknowledged if key not in self._seen]:
            if not self._open:
                raise ProbeFailed(f"the stream is cut and {len(lost)} events are missing")
            await asyncio.sleep(1.0)  # what has been acknowledged is on its way by now, or never will be
            lost = [key for key in self._acknowledged if key not in self._seen]
        found: dict[str, JsonValue] = {
            "of": "events",
            "acknowledged": len(self._acknowledged),
            "arrived": len(self._seen),
            "lost": lost[:_NAMED],
            "twice": self._twice[:_NAMED],
            "disorder": self._disorder[:_NAMED],
            "cuts": self._cuts,
        }
        await self.stop()
        if not (lost or self._twice or self._disorder):
            keys = {"key": encode(self._prefix), "range_end": encode(prefix_end(self._prefix))}
            await call(self.endpoint, self._context, "deleterange", keys)
        return found

    @property
    def _state(self) -> str:
        return "stream open" if self._open else "stream cut"

    def _key(self, seq: int) -> str:
        return f"{self._prefix}{seq:08d}"

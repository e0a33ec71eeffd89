"""A stream that lives as long as it can, as ``kubectl get --watch`` or a controller has one: what the watches of etcd
and of the Kubernetes API have in common. The probe makes ticks itself, each on a connection of its own, and an attempt
is good when its tick's event has come down the stream in time.

A stream that is cut is taken up again after the last revision that was seen, so nothing may be missed. It is cut when
the connection ends, and when an event of an acknowledged tick is overdue: after a silent takeover nobody tells a client
that only listens, so TCP keep-alive asks the new holder, who has never heard of the connection and resets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

from rackbox.history import JsonValue
from rackbox.probes.base import NAMED, LastingProbe, ProbeFailed, ProbeSettings, audit_figures
from rackbox.probes.endpoints import ApiEndpoint, EtcdEndpoint
from rackbox.probes.https import Connection, make_context

T = TypeVar("T", bound=EtcdEndpoint | ApiEndpoint)

KEEPALIVE = (1, 1, 3)
"""Seconds idle, seconds between probes, probes: the least that tcp(7) can say. Go's default is 15 s, 15 s, 9."""
RETRY_SECONDS = 0.05


class Watch(LastingProbe[T]):
    """A subclass says how a tick is made (``put_tick``), a stream opened (``open_stream``), a line of it read
    (``take_line``, which calls ``take_event``) and the ticks removed (``clear_ticks``). Whichever of the two knows that
    the server has begun calls ``stream_is_open``."""

    pace = 5
    audits = True

    def __init__(self, settings: ProbeSettings, endpoint: T) -> None:
        super().__init__(settings, endpoint)
        self.context = make_context(endpoint)
        self.next = 0
        """The revision from which the stream is taken up; 0 before the first one was open."""
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._acknowledged: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._twice: list[str] = []
        self._disorder: list[str] = []
        self._newest = 0
        self._open = False
        self._cuts = 0
        self._begun = asyncio.Event()

    # --- what a subclass says

    @abstractmethod
    def key(self, seq: int) -> str:
        """The name of a tick."""

    async def prepare(self) -> None:
        """Make what has to be there before a stream can be opened. Called again if it raises ``ProbeFailed``."""

    @abstractmethod
    async def put_tick(self, key: str) -> None:
        """Make it; returns once it is acknowledged."""

    @abstractmethod
    async def open_stream(self, connection: Connection) -> AsyncIterator[bytes]:
        """The lines of a stream from the revision ``next`` on, or from now on where that is 0."""

    @abstractmethod
    def take_line(self, line: bytes) -> None:
        """Raises ``ProbeFailed`` for what ends the stream."""

    @abstractmethod
    async def clear_ticks(self) -> None:
        """Remove all of them."""

    # --- ticks

    async def attempt(self, seq: int) -> str:
        self.raise_its_end()
        await self._begun.wait()  # what is put before the first stream is open could not be seen on it
        key = self.key(seq)
        arrived = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            try:
                await self.put_tick(key)
            except (OSError, EOFError, ProbeFailed) as error:
                raise ProbeFailed(f"the put failed: {str(error) or type(error).__name__}; {self._state}") from error
            self._acknowledged[key] = time.monotonic()
            await arrived
        finally:
            self._waiting.pop(key, None)
        return ""

    def overdue(self, seq: int) -> str:
        if self.key(seq) in self._acknowledged:
            return f"put acknowledged, its event did not arrive; {self._state}"
        if not self._begun.is_set():
            return "no stream yet"
        return f"the put was not answered; {self._state}"

    # --- the stream

    def stream_is_open(self, revision: int) -> None:
        """To be called when the server has said that it is; ``revision`` is the last one before it."""
        if not self._open:
            self._open = True
            self.next = self.next or revision + 1
            self.note("stream", state="open", reason=f"after revision {self.next - 1}")
            self._begun.set()

    def take_event(self, key: str, revision: int) -> None:
        if key in self._seen:
            self._twice.append(key)
        if revision <= self._newest:
            self._disorder.append(f"{key}: revision {revision} after {self._newest}")
        self._newest = max(self._newest, revision)
        self.next = self._newest + 1
        self._seen[key] = revision
        if (arrived := self._waiting.get(key)) is not None and not arrived.done():
            arrived.set_result(None)

    async def last(self) -> None:
        prepared = False
        while True:
            try:
                if not prepared:
                    await self.prepare()
                    prepared = True
                await self._listen()
                reason = "the server ended it"
            except (OSError, EOFError, ProbeFailed) as error:
                reason = (str(error) or type(error).__name__)[:160]
            if not prepared:
                self.note("probe-note", message=reason)
            self._cut(reason)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        limit = self.settings.timeout
        async with asyncio.timeout(limit):
            connection = await Connection.open(self.endpoint, self.context)
        try:
            connection.watch_peer(*KEEPALIVE)
            async with asyncio.timeout(limit):
                lines = await self.open_stream(connection)
            while True:
                line = await self._next_line(lines, limit)
                if line is None:
                    return
                self.take_line(line)
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
        more: dict[str, JsonValue] = {
            "of": "events",
            "arrived": len(self._seen),
            "disorder": [*self._disorder[:NAMED]],
            "disorder_count": len(self._disorder),
            "cuts": self._cuts,
        }
        found = audit_figures(len(self._acknowledged), lost, self._twice, **more)
        await self.stop()
        if not (lost or self._twice or self._disorder):
            await self.clear_ticks()
        return found

    @property
    def _state(self) -> str:
        return "stream open" if self._open else "stream cut"

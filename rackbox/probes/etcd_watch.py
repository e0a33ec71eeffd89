"""An etcd watch through the floating IP that stays open: see ``watch``."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from rackbox.probes.base import ProbeFailed, ProbeSettings
from rackbox.probes.endpoints import EtcdEndpoint
from rackbox.probes.etcd import PREFIX, call, decode, encode, prefix_end, revision_of
from rackbox.probes.https import Connection, read_json
from rackbox.probes.watch import Watch


class EtcdWatch(Watch[EtcdEndpoint]):
    name = "etcd-watch"
    summary = "a long-lived etcd watch, resumed when it is cut; ticks written beside it"
    aims_at = EtcdEndpoint

    def __init__(self, settings: ProbeSettings, endpoint: EtcdEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._prefix = f"{PREFIX}{settings.run_id}-ticks/"

    def key(self, seq: int) -> str:
        return f"{self._prefix}{seq:08d}"

    async def put_tick(self, key: str) -> None:
        message = {"key": encode(key), "value": encode(f"{time.time():.6f}")}
        await call(self.endpoint, self.context, "put", message)

    async def open_stream(self, connection: Connection) -> AsyncIterator[bytes]:
        request: dict[str, Any] = {"key": encode(self._prefix), "range_end": encode(prefix_end(self._prefix))}
        if self.next:
            request["start_revision"] = str(self.next)
        return await connection.open_stream("/v3/watch", json.dumps({"create_request": request}).encode())

    def take_line(self, line: bytes) -> None:
        message = read_json(line)
        result = message.get("result")
        if not isinstance(result, dict) or not isinstance(result.get("header"), dict):
            raise ProbeFailed(f"not a watch's answer: {line[:120].decode(errors='replace')}")
        if result.get("canceled"):
            compacted = str(result.get("compact_revision", ""))
            if compacted.isdigit():
                self.next = max(self.next, int(compacted))
            raise ProbeFailed(f"cancelled: {result.get('cancel_reason', 'no reason given')}")
        if result.get("created"):
            self.stream_is_open(revision_of(result))
        for event in result.get("events", ()):
            self.take_event(decode(event["kv"]["key"]), int(event["kv"]["mod_revision"]))

    async def clear_ticks(self) -> None:
        keys = {"key": encode(self._prefix), "range_end": encode(prefix_end(self._prefix))}
        await call(self.endpoint, self.context, "deleterange", keys)

"""A watch of the Kubernetes API through the floating IP that stays open: see ``watch``. One that is cut is taken up
again from the last ``resourceVersion`` that was seen, on whatever API server the balancers lead to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from rackbox.probes.base import ProbeFailed, ProbeSettings
from rackbox.probes.endpoints import ApiEndpoint
from rackbox.probes.https import Connection, read_json
from rackbox.probes.kubernetes_api import (
    API_PACE,
    call,
    config_map,
    config_maps,
    name_run,
    open_run,
    remove_run,
    revision_of,
)
from rackbox.probes.watch import Watch


class ApiWatch(Watch[ApiEndpoint]):
    name = "api-watch"
    summary = "a long-lived watch of the Kubernetes API, resumed when it is cut; ticks written beside it"
    aims_at = ApiEndpoint
    pace = API_PACE

    def __init__(self, settings: ProbeSettings, endpoint: ApiEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._run = name_run(f"{settings.run_id}-ticks")
        self._opened = False

    def key(self, seq: int) -> str:
        return f"tick-{seq:08d}"

    async def put_tick(self, key: str) -> None:
        message = config_map(key, f"{time.time():.6f}")
        await call(self.endpoint, self.context, "POST", config_maps(self._run), message, good=("201",))

    async def open_stream(self, connection: Connection) -> AsyncIterator[bytes]:
        path = config_maps(self._run)
        if not self._opened:
            await open_run(self.endpoint, self.context, self._run)
            self._opened = True
        if not self.next:
            listed = await call(self.endpoint, self.context, "GET", f"{path}?limit=1")
            self.next = revision_of(listed) + 1
        # A watch begins with what comes after the revision that it is given.
        path = f"{path}?watch=1&resourceVersion={self.next - 1}"
        lines = await connection.open_stream(path, method="GET")
        self.stream_is_open(self.next - 1)
        return lines

    def take_line(self, line: bytes) -> None:
        event = read_json(line)
        kind, thing = event.get("type"), event.get("object")
        if not isinstance(thing, dict):
            raise ProbeFailed(f"not a watch's answer: {line[:120].decode(errors='replace')}")
        if kind == "ERROR":
            if thing.get("code") == 410:  # what was asked for is forgotten: from now on, and something may be missed
                self.next = 0
            raise ProbeFailed(f"ended: {thing.get('message', 'no reason given')}")
        name = str(thing.get("metadata", {}).get("name", ""))
        if kind == "ADDED" and name.startswith("tick-"):  # each namespace is given a config map of the cluster's own
            self.take_event(name, revision_of(thing))

    async def clear_ticks(self) -> None:
        await remove_run(self.endpoint, self.context, self._run)

"""A log that is followed through the floating IP, as by ``kubectl logs --follow``: see ``watch``. It is the longest way
there is to a client, from a worker's disk by its kubelet and an API server.

A tick is a lookup of its name at a DNS server, CoreDNS, because every bundle has that image; the probe has the cluster
run one at a worker's own address. It logs each name, and an attempt is good when the line has come down the stream. A
stream that is cut is taken up again by ``sinceTime``, which knows whole seconds only: what comes twice because of that
is left out by the lines' own times.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from rackbox.probes.base import ProbeSettings
from rackbox.probes.dns import look_up
from rackbox.probes.endpoints import ApiEndpoint
from rackbox.probes.https import Connection
from rackbox.probes.kubernetes_api import (
    NAMESPACES,
    apply,
    call,
    find_coredns_image,
    name_run,
    open_run,
    patiently,
    remove_run,
)
from rackbox.probes.watch import Watch

NAME = "rackbox-probe-logs"
PREPARE_SECONDS = 60.0
FIRST_PORT, PORTS = 20000, 5000
"""The server's port is the run's own: the last run's pod may still be ending. Below those that services are given."""
_LINE = re.compile(rb"(?P<second>\S+T[\d:]+)(?:\.(?P<fraction>\d{1,9}))?Z \[INFO\] (?P<name>tick-\d+)\.")


class ApiLogs(Watch[ApiEndpoint]):
    name = "api-logs"
    summary = "the log of a pod, followed through the API, resumed when it is cut; ticks logged beside it"
    aims_at = ApiEndpoint

    def __init__(self, settings: ProbeSettings, endpoint: ApiEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._run = name_run(f"{settings.run_id}-logs")
        self._port = FIRST_PORT + int(self._run[-4:], 16) % PORTS
        self._server = ""
        self._known = 0
        """Nanoseconds: lines up to then came down an earlier stream."""

    def key(self, seq: int) -> str:
        return f"tick-{seq:08d}"

    async def prepare(self) -> None:
        for what, look in (
            ("a namespace", self._make_namespace),
            ("a pod", self._make_pod),
            ("a worker's address", self._find_server),
            ("an answer of the pod's", self._ask_server),
        ):
            await patiently(PREPARE_SECONDS, what, look)
        self.note("probe-note", message=f"the pod is at {self._server}:{self._port}")

    async def put_tick(self, key: str) -> None:
        await look_up(self._server, self._port, key)

    async def open_stream(self, connection: Connection) -> AsyncIterator[bytes]:
        self._known = self.next - 1
        path = f"{NAMESPACES}/{self._run}/pods/{NAME}/log?follow=true&timestamps=true"
        if self._known > 0:
            path += f"&sinceTime={format_second(self._known)}"
        lines = await connection.open_stream(path, method="GET")
        self.stream_is_open(max(self._known, 0))
        return lines

    def take_line(self, line: bytes) -> None:
        if (found := read_line(line)) is not None and found[1] > self._known:
            self.take_event(*found)

    async def clear_ticks(self) -> None:
        await remove_run(self.endpoint, self.context, self._run)

    # --- what is asked

    async def _make_namespace(self) -> bool:
        await open_run(self.endpoint, self.context, self._run)
        return True

    async def _make_pod(self) -> bool:
        image = await find_coredns_image(self.endpoint, self.context)
        own = f"{NAMESPACES}/{self._run}"
        for kind, thing in (("configmaps", plan_settings(self._port)), ("pods", plan_pod(image))):
            await apply(self.endpoint, self.context, f"{own}/{kind}", thing)
        return True

    async def _find_server(self) -> bool | None:
        path = f"{NAMESPACES}/{self._run}/pods/{NAME}"
        status = (await call(self.endpoint, self.context, "GET", path)).get("status", {})
        self._server = str(status.get("hostIP", ""))
        return True if self._server and status.get("phase") == "Running" else None

    async def _ask_server(self) -> bool:
        async with asyncio.timeout(0.5):
            await look_up(self._server, self._port, "ready")
        return True


def read_line(line: bytes) -> tuple[str, int] | None:
    """A tick's name and when it was logged (nanoseconds since 1970); None for what is no tick's line."""
    if (found := _LINE.match(line)) is None:
        return None
    second = datetime.fromisoformat(found["second"].decode()).replace(tzinfo=UTC)
    fraction = (found["fraction"] or b"").decode().ljust(9, "0")
    return found["name"].decode(), int(second.timestamp()) * 10**9 + int(fraction)


def format_second(nanoseconds: int) -> str:
    """The second in which it is, as RFC 3339 has it."""
    return f"{datetime.fromtimestamp(nanoseconds // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def plan_settings(port: int) -> dict[str, Any]:
    """CoreDNS that answers everything, and logs the name that was asked for."""
    settings = f'.:{port} {{\n    whoami\n    log . "{{name}}"\n}}\n'
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"probe": settings}}


def plan_pod(image: str) -> dict[str, Any]:
    """It has its worker's address: clients of the lab reach it without anything of the cluster between."""
    container = {
        "name": "dns",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/probe/probe"],
        "volumeMounts": [{"name": "probe", "mountPath": "/etc/probe"}],
    }
    spec = {
        "hostNetwork": True,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "probe", "configMap": {"name": NAME}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": spec}

"""What probes of services of type LoadBalancer have in common: they have the cluster make the service (and pods behind
it, if they want to), wait until it has an address, and take all of it away at the end.

What a probe that was killed has left is taken over by the next one: the names are always the same.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from rackbox.probes.base import LastingProbe, ProbeFailed, ProbeSettings
from rackbox.probes.endpoints import ClusterServiceEndpoint
from rackbox.probes.https import make_context
from rackbox.probes.kubernetes_api import apply, call, patiently

PREPARE_SECONDS = 60.0
REMOVE_SECONDS = 10.0
CALL_SECONDS = 3.0


class ClusterService(LastingProbe[ClusterServiceEndpoint]):
    """A subclass says what there must be (``plan_objects``, by the path of their kind) and how the service at
    ``address`` is asked (``ask``). ``service`` is the path of the service itself."""

    service: str

    def __init__(self, settings: ProbeSettings, endpoint: ClusterServiceEndpoint) -> None:
        super().__init__(settings, endpoint)
        self.context = make_context(endpoint)
        self.address = ""
        self._made: list[str] = []
        self._trouble = "the service is being made"

    @abstractmethod
    async def plan_objects(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Path of the kind, and the object; in the order in which they are made."""

    @abstractmethod
    async def ask(self) -> str:
        """One request to ``address``."""

    async def attempt(self, seq: int) -> str:
        if not self.address:
            await asyncio.sleep(self.settings.timeout / 2)
            raise ProbeFailed(self._trouble)
        return await self.ask()

    async def stop(self) -> None:
        await super().stop()
        deadline = time.monotonic() + REMOVE_SECONDS
        for path in reversed(self._made):
            while time.monotonic() < deadline:
                try:
                    async with asyncio.timeout(CALL_SECONDS):
                        await call(self.endpoint, self.context, "DELETE", path, good=("200", "202", "404"))
                    break
                except (OSError, EOFError, ProbeFailed) as error:
                    self.note("probe-note", message=f"{path} not removed: {error}"[:160])
                    await asyncio.sleep(0.5)

    async def last(self) -> None:
        try:
            objects = await patiently(PREPARE_SECONDS, "what the service is made of", self.plan_objects)
            for path, thing in objects:
                await patiently(PREPARE_SECONDS, path, lambda p=path, t=thing: self._make(p, t))
            self.address = await patiently(PREPARE_SECONDS, "an address for the service", self._find_address)
            self.note("probe-note", message=f"the service is at {self.address}")
        except ProbeFailed as error:
            self._trouble = str(error)

    async def _make(self, path: str, thing: Mapping[str, Any]) -> bool:
        await apply(self.endpoint, self.context, path, thing)
        self._made.append(f"{path}/{thing['metadata']['name']}")
        return True

    async def _find_address(self) -> str | None:
        found = await call(self.endpoint, self.context, "GET", self.service)
        for way in found.get("status", {}).get("loadBalancer", {}).get("ingress", ()):
            return str(way["ip"])
        return None

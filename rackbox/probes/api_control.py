"""Whether the cluster's controllers act: a Deployment (of no pods) is changed, and an attempt is good when its
controller has taken note of that change (``status.observedGeneration``).

The API itself answers on while nobody acts: what is missing then is seen only so.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from rackbox.probes.base import Probe, ProbeFailed, ProbeSettings
from rackbox.probes.endpoints import ApiEndpoint
from rackbox.probes.https import make_context
from rackbox.probes.kubernetes_api import LABEL, MERGE, NAMESPACE, apply, call

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
NAME = "rackbox-probe-control"
LOOK_SECONDS = 0.1
LAST_SECONDS = 3.0


class ApiControl(Probe[ApiEndpoint]):
    name = "api-control"
    summary = "a change that a controller of the cluster must act upon"
    aims_at = ApiEndpoint
    pace = 25

    def __init__(self, settings: ProbeSettings, endpoint: ApiEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._context = make_context(endpoint)
        self._made = False

    async def attempt(self, seq: int) -> str:
        if not self._made:
            await apply(self.endpoint, self._context, DEPLOYMENTS, plan_deployment())
            self._made = True
        path = f"{DEPLOYMENTS}/{NAME}"
        change = {"spec": {"minReadySeconds": 1 + seq % 1000}}
        wanted = _generation(await call(self.endpoint, self._context, "PATCH", path, change, content=MERGE))
        while True:
            seen = (await call(self.endpoint, self._context, "GET", path)).get("status", {})
            if int(seen.get("observedGeneration", 0)) >= wanted:
                return f"generation {wanted}"
            await asyncio.sleep(LOOK_SECONDS)

    def overdue(self, seq: int) -> str:
        return "no controller has acted" if self._made else ""

    async def stop(self) -> None:
        if self._made:
            with contextlib.suppress(OSError, EOFError, ProbeFailed):  # what is left is taken over by the next one
                async with asyncio.timeout(LAST_SECONDS):
                    await call(self.endpoint, self._context, "DELETE", f"{DEPLOYMENTS}/{NAME}")


def _generation(thing: dict[str, Any]) -> int:
    return int(thing["metadata"]["generation"])


def plan_deployment() -> dict[str, Any]:
    """One of no pods: nothing is ever started for it."""
    labels = {LABEL: "control"}
    container = {"name": "none", "image": "registry.k8s.io/pause"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }

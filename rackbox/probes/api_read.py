"""Reads from the Kubernetes API through the floating IP, past the API servers' caches: each needs etcd's quorum."""

from __future__ import annotations

from rackbox.probes.base import Probe, ProbeSettings
from rackbox.probes.endpoints import ApiEndpoint
from rackbox.probes.https import make_context
from rackbox.probes.kubernetes_api import API_PACE, NAMESPACE, call


class ApiRead(Probe[ApiEndpoint]):
    name = "api-read"
    summary = "new TLS connection and a read from the Kubernetes API that needs a quorum"
    aims_at = ApiEndpoint
    pace = API_PACE

    def __init__(self, settings: ProbeSettings, endpoint: ApiEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._context = make_context(endpoint)

    async def attempt(self, seq: int) -> str:
        await call(self.endpoint, self._context, "GET", f"/api/v1/namespaces/{NAMESPACE}")
        return ""

"""Writes to the Kubernetes API through the floating IP: each makes a config map of its own, and all that were
acknowledged are read back at the end.

One that is not there is a lost write. One that is said to exist already, though this probe never tries again, was made
twice: somebody on the way sent it a second time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from rackbox.history import JsonValue
from rackbox.probes.base import Probe, ProbeFailed, ProbeSettings, audit_figures
from rackbox.probes.endpoints import ApiEndpoint
from rackbox.probes.https import make_context, request
from rackbox.probes.kubernetes_api import API_PACE, call, config_map, config_maps, name_run, open_run, remove_run


class ApiWrite(Probe[ApiEndpoint]):
    name = "api-write"
    summary = "new TLS connection and a write to the Kubernetes API, read back at the end"
    aims_at = ApiEndpoint
    pace = API_PACE
    audits = True

    def __init__(self, settings: ProbeSettings, endpoint: ApiEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._context = make_context(endpoint)
        self._run = name_run(f"{settings.run_id}-writes")
        self._acknowledged: dict[str, str] = {}
        self._twice: list[str] = []
        self._opened = False

    async def attempt(self, seq: int) -> str:
        if not self._opened:
            await open_run(self.endpoint, self._context, self._run)
            self._opened = True
        name, text = f"write-{seq:08d}", f"{self.settings.run_id}#{seq}"
        path, body = config_maps(self._run), json.dumps(config_map(name, text)).encode()
        status, _ = await request(self.endpoint, self._context, "POST", path, body, good=("201", "409"))
        if status == "409":
            self._twice.append(name)
            raise ProbeFailed("HTTP 409: it is there already")
        self._acknowledged[name] = text
        return ""

    async def audit(self) -> Mapping[str, JsonValue]:
        answer = await call(self.endpoint, self._context, "GET", config_maps(self._run))
        found = {item["metadata"]["name"]: item.get("data", {}).get("text") for item in answer.get("items", [])}
        found = {name: text for name, text in found.items() if name.startswith("write-")}  # the cluster adds one
        lost = [name for name, text in self._acknowledged.items() if found.get(name) != text]
        if not lost and not self._twice:  # otherwise they stay, for whoever wants to look
            await remove_run(self.endpoint, self._context, self._run)
        return audit_figures(len(self._acknowledged), lost, self._twice, stored=len(found))

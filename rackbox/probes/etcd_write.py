"""Writes to etcd through the floating IP, each under a key of its own, and reads all of them back at the end.

What etcd acknowledged must be there, once: a missing key is a lost write, a version above 1 means that somebody on the
way sent it twice (this probe never retries).
"""

from __future__ import annotations

from collections.abc import Mapping

from rackbox.history import JsonValue
from rackbox.probes.base import Probe, ProbeSettings, audit_figures
from rackbox.probes.endpoints import EtcdEndpoint
from rackbox.probes.etcd import PREFIX, call, decode, encode, member_of, prefix_end
from rackbox.probes.https import make_context


class EtcdWrite(Probe[EtcdEndpoint]):
    name = "etcd-write"
    summary = "new TLS connection and an etcd write, read back at the end"
    aims_at = EtcdEndpoint
    pace = 5
    audits = True

    def __init__(self, settings: ProbeSettings, endpoint: EtcdEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._context = make_context(endpoint)
        self._prefix = f"{PREFIX}{settings.run_id}/"
        self._acknowledged: dict[str, str] = {}

    async def attempt(self, seq: int) -> str:
        key, value = f"{self._prefix}{seq:08d}", f"{self.settings.run_id}#{seq}"
        answer = await call(self.endpoint, self._context, "put", {"key": encode(key), "value": encode(value)})
        self._acknowledged[key] = value
        return member_of(answer)

    async def audit(self) -> Mapping[str, JsonValue]:
        keys: dict[str, JsonValue] = {"key": encode(self._prefix), "range_end": encode(prefix_end(self._prefix))}
        answer = await call(self.endpoint, self._context, "range", keys)
        found = {decode(entry["key"]): entry for entry in answer.get("kvs", [])}
        lost = [
            key
            for key, value in self._acknowledged.items()
            if key not in found or decode(found[key].get("value", "")) != value
        ]
        twice = [key for key, entry in found.items() if int(entry.get("version", 0)) != 1]
        if not lost and not twice:  # otherwise they stay, for whoever wants to look
            await call(self.endpoint, self._context, "deleterange", keys)
        return audit_figures(len(self._acknowledged), lost, twice, stored=len(found))

"""Reads from etcd through the floating IP, by name, on a new TLS connection each time.

``etcd-read`` is linearizable: the answer is only given while the cluster has a leader and a quorum.
``etcd-read-serializable`` is answered by any member alone, so it feels the balancers and not the elections.
"""

from __future__ import annotations

import json
from typing import ClassVar

from rackbox.probes.base import Probe, ProbeSettings
from rackbox.probes.endpoints import EtcdEndpoint
from rackbox.probes.etcd import PREFIX, encode, member_of, read_answer
from rackbox.probes.https import make_context, post


class EtcdRead(Probe[EtcdEndpoint]):
    name = "etcd-read"
    summary = "new TLS connection and a linearizable etcd read"
    aims_at = EtcdEndpoint
    serializable: ClassVar[bool] = False

    def __init__(self, settings: ProbeSettings, endpoint: EtcdEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._context = make_context(endpoint)
        self._message = json.dumps({"key": encode(PREFIX), "serializable": self.serializable}).encode()

    async def attempt(self, seq: int) -> str:
        return member_of(read_answer(await post(self.endpoint, self._context, "/v3/kv/range", self._message)))


class EtcdReadSerializable(EtcdRead):
    name = "etcd-read-serializable"
    summary = "new TLS connection and an etcd read that any one member answers"
    pace = 5
    serializable = True

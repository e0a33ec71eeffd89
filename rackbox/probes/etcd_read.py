"""Reads from etcd through the floating IP, by name, on a new TLS connection each time.

``etcd-read`` is linearizable: the answer is only given while the cluster has a leader and a quorum.
``etcd-read-serializable`` is answered by any member alone, so it feels the balancers and not the elections.
"""

from __future__ import annotations

from typing import ClassVar

from rackbox.probes.base import Probe, ProbeSettings
from rackbox.probes.etcd import PREFIX, call, encode, member_of
from rackbox.probes.https import make_context


class EtcdRead(Probe):
    name = "etcd-read"
    summary = "new TLS connection and a linearizable etcd read"
    serializable: ClassVar[bool] = False

    def __init__(self, settings: ProbeSettings) -> None:
        super().__init__(settings)
        self._context = make_context(settings)
        self._message = {"key": encode(PREFIX), "serializable": self.serializable}

    async def attempt(self, seq: int) -> str:
        return member_of(await call(self.settings, self._context, "range", self._message))


class EtcdReadSerializable(EtcdRead):
    name = "etcd-read-serializable"
    summary = "new TLS connection and an etcd read that any one member answers"
    pace = 5
    serializable = True

"""etcd is killed on the member that leads; its machine says so to whoever asks, so nobody waits for it."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="etcd-leader-killed",
    summary="etcd killed on its leader",
    fault="etcd-killed",
    target="etcd-leader",
    probes=(*SERVICE, "etcd-read-serializable"),
    judged="etcd-write",
    needs={"lb": 1, "master": 3},
)

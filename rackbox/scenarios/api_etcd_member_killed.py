"""An etcd member's process is killed, seen by clients of the Kubernetes API: the API server beside it has no other, and
must be out of the balancers until it is back."""

from __future__ import annotations

from rackbox.scenarios.base import CLUSTER, Scenario

SCENARIO = Scenario(
    name="api-etcd-member-killed",
    summary="etcd killed on a follower; clients of the Kubernetes API",
    fault="etcd-killed",
    target="etcd-follower",
    probes=CLUSTER,
    judged="api-write",
    needs={"lb": 1, "master": 3, "worker": 1},
    start=60.0,  # a pod has to be running first
    heal=120.0,
)

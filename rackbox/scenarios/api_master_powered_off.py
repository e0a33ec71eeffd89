"""A master loses power, seen by clients of the Kubernetes API. Who tries once more must be served; a watch that was
open there is taken up on another master and misses nothing."""

from __future__ import annotations

from rackbox.scenarios.base import CLUSTER, Scenario

SCENARIO = Scenario(
    name="api-master-powered-off",
    summary="a master (an etcd follower) powered off; clients of the Kubernetes API",
    fault="powered-off",
    target="etcd-follower",
    probes=CLUSTER,
    judged="api-write",
    needs={"lb": 1, "master": 3, "worker": 1},
    start=60.0,  # a pod has to be running first
    limits={"failed_after_retry": 0},
    heal=180.0,
)

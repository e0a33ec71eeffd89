"""The balancer that holds the floating IP loses power, seen by clients of the Kubernetes API: requests, writes, a
watch."""

from __future__ import annotations

from rackbox.scenarios.base import CLUSTER, Scenario

SCENARIO = Scenario(
    name="api-holder-powered-off",
    summary="the floating IP's holder powered off; clients of the Kubernetes API",
    fault="powered-off",
    target="vip-holder",
    probes=CLUSTER,
    judged="api-write",
    needs={"lb": 2, "master": 1, "worker": 1},
    start=60.0,  # a pod has to be running first
    heal=120.0,
)

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
    heal=120.0,
)

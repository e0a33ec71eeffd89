"""The balancer that holds the floating IP loses power. The other must notice by silence alone, take the address, and
tell the network; when the first comes back, nobody should feel it."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="holder-powered-off",
    summary="the floating IP's holder powered off",
    fault="powered-off",
    target="vip-holder",
    probes=(*SERVICE, "etcd-keepalive", "etcd-watch"),
    limits={"second_outage_ms": 500},
)

"""The balancer that does not hold the floating IP loses power. Nobody should feel it, then or when it comes back."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="standby-powered-off",
    summary="the standby powered off",
    fault="powered-off",
    target="vip-standby",
    probes=(*SERVICE, "etcd-keepalive", "etcd-watch"),
    limits={"failed": 0, "cuts": 0, "moves": 0},
)

"""The floating IP is handed to the other balancer before maintenance. A client that tries again once must not
notice."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="planned-switchover",
    summary="the floating IP handed over in good order",
    fault="switched-over",
    target="vip-holder",
    probes=(*SERVICE, "etcd-keepalive", "etcd-watch"),
    limits={"failed_after_retry": 0, "moves": 1},
)

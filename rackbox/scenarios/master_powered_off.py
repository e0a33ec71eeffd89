"""A master that does not lead loses power. The balancers send a few clients to it until they know; those who try again
must be served."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="master-powered-off",
    summary="a master (an etcd follower) powered off",
    fault="powered-off",
    target="etcd-follower",
    probes=(*SERVICE, "etcd-watch"),
    needs={"lb": 1, "master": 3},
    limits={"failed_after_retry": 0, "slow_ms": 1000},
)

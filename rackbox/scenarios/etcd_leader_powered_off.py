"""The etcd member that leads loses power. The others must elect one among them, and the balancers must stop sending
clients to a machine that no longer answers; no write that was acknowledged may be lost."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="etcd-leader-powered-off",
    summary="the etcd leader's machine powered off",
    fault="powered-off",
    target="etcd-leader",
    probes=(*SERVICE, "etcd-read-serializable"),
    judged="etcd-write",
    needs={"lb": 1, "master": 3},
)

"""A member that does not lead loses every network but the management's; nothing says goodbye."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="etcd-member-cut-off",
    summary="an etcd follower cut off from everything",
    fault="cut-off",
    target="etcd-follower",
    probes=(*SERVICE, "etcd-read-serializable"),
    needs={"lb": 1, "master": 3},
)

"""etcd hangs on a member that does not lead: a master's API port that accepts, and answers nothing. A check that only
connects would leave it in rotation."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="etcd-member-hung",
    summary="etcd hung on a follower: its port accepts and does not answer",
    fault="etcd-hung",
    target="etcd-follower",
    probes=(*SERVICE, "etcd-read-serializable"),
    needs={"lb": 1, "master": 3},
)

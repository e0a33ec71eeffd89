"""etcd is killed on a member that does not lead. The others have a majority: only who was connected to it may feel
it."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="etcd-member-killed",
    summary="etcd killed on a follower",
    fault="etcd-killed",
    target="etcd-follower",
    probes=(*SERVICE, "etcd-read-serializable"),
    needs={"lb": 1, "master": 3},
    limits={"failed_after_retry": 0},
)

"""A brick's process is killed on a Gluster server; its kernel says so at once, so nobody waits."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="gluster-brick-killed",
    summary="a Gluster brick's process killed",
    fault="brick-killed",
    target="any-gluster",
    probes=("etcd-read", "gluster-write"),
    judged="gluster-write",
    needs={"lb": 1, "master": 1, "gluster": 3, "worker": 1},
    heal=90.0,
)

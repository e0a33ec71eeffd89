"""The etcd member that leads loses every network but the management's. It must not go on as a leader of one, and
nothing that it acknowledged may be lost."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="etcd-leader-cut-off",
    summary="the etcd leader cut off from everything",
    fault="cut-off",
    target="etcd-leader",
    probes=(*SERVICE, "etcd-read-serializable"),
    judged="etcd-write",
    needs={"lb": 1, "master": 3},
)

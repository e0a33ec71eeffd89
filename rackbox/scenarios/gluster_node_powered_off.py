"""A Gluster server loses power. Clients give it up after client.tcp-user-timeout and go on with the other two; when
it is back, what it missed is healed."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="gluster-node-powered-off",
    summary="a Gluster server powered off",
    fault="powered-off",
    target="any-gluster",
    probes=("etcd-read", "gluster-write"),
    judged="gluster-write",
    needs={"lb": 1, "master": 1, "gluster": 3, "worker": 1},
    heal=90.0,
)

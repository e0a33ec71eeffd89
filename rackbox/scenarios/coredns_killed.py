"""CoreDNS is killed on one machine. The other pods of the cluster's DNS serve on; the service must stop leading to the
dead one."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="coredns-killed",
    summary="CoreDNS killed on a machine that runs it",
    fault="coredns-killed",
    target="coredns-host",
    probes=("cluster-dns", "api-write"),
    judged="cluster-dns",
    needs={"lb": 1, "master": 1, "worker": 2},
    start=60.0,
    recover=60.0,
    heal=120.0,
)

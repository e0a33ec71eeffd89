"""An API server hangs: it accepts connections and answers nothing. A check that only connects would leave it in
rotation; `/readyz` does not answer, and the balancers go elsewhere."""

from __future__ import annotations

from rackbox.scenarios.base import CLUSTER, Scenario

SCENARIO = Scenario(
    name="api-server-hung",
    summary="an API server hung: its port accepts and does not answer",
    fault="api-server-hung",
    target="any-master",
    probes=CLUSTER,
    judged="api-write",
    needs={"lb": 1, "master": 3, "worker": 1},
    start=60.0,  # a pod has to be running first
    heal=120.0,
)

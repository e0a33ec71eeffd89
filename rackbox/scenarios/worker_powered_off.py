"""The worker that runs a service's only pod loses power. The cluster takes a node for lost when it has not heard of it
for a while (50 s by default), gives its pods up, and starts another one elsewhere."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="worker-powered-off",
    summary="a worker powered off that runs a service's only pod: until it serves again elsewhere",
    fault="powered-off",
    target="service-host",
    probes=("service-http", "api-write"),
    judged="service-http",
    needs={"lb": 1, "master": 1, "worker": 2},
    start=60.0,
    recover=150.0,
    settle=3.0,
    heal=180.0,
)

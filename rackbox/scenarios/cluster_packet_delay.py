"""The packets between the balancers arrive late, all of them, as over a long line. No machine is lost: nothing may
move."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="cluster-packet-delay",
    summary="packets between the balancers 50 ms late, each way",
    fault="packet-delay",
    target="balancers",
    settle=6.0,
    limits={"failed": 0, "moves": 0},
)

"""Of the packets between the balancers, a few in a hundred are lost. No machine is lost: nothing may move."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="cluster-packet-loss",
    summary="5 % of the packets between the balancers lost, each way",
    fault="packet-loss",
    target="balancers",
    settle=8.0,
    limits={"failed": 0, "moves": 0, "links_given_up": 0},
)

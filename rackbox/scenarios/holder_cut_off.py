"""The floating IP's holder loses every network but the management's, ARP and all: a switch port that died. The other
must take over; the first must have let go when its port comes back."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="holder-cut-off",
    summary="the floating IP's holder cut off from everything",
    fault="cut-off",
    target="vip-holder",
    one_holder=False,
    limits={"second_outage_ms": 1000},
    fenced_limits={"double_holder_ms": 0},
)

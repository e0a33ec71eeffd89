"""keepalived is killed on the floating IP's holder. The address stays where it is, since nobody is left to take it
away, while the other balancer misses the adverts."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="keepalived-killed",
    summary="keepalived killed on the floating IP's holder",
    fault="keepalived-killed",
    target="vip-holder",
    stacks=("keepalived",),
    settle=3.0,
    one_holder=False,
)

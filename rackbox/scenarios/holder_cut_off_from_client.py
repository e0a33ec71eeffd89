"""The client and the floating IP's holder lose sight of each other; everybody else sees both. No machine of the lab
has anything to notice that by, so the outage lasts as long as the fault: what is measured is that it ends with it."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="holder-cut-off-from-client",
    summary="the floating IP's holder cut off from the client alone: lasts until healed",
    fault="cut-off-from-client",
    target="vip-holder",
    recover=2.0,
    lasts=True,
    limits={"moves": 0},
)

"""On the floating IP's holder nothing more can be written where its programs keep state and logs. It should go on
serving."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="holder-disk-full",
    summary="the disk of the floating IP's holder full",
    fault="disk-full",
    target="vip-holder",
    settle=4.0,
    limits={"failed": 0, "moves": 0},
)

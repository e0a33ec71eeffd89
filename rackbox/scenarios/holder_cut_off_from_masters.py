"""The floating IP's holder no longer reaches any master, while the other balancer does. HAProxy is well and has nobody
to send to. Unless the stack looks at that, the outage lasts as long as the fault."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="holder-cut-off-from-masters",
    summary="the floating IP's holder cut off from the masters: lasts until healed",
    fault="cut-off-from-masters",
    target="vip-holder",
    recover=3.0,
    lasts=True,
)

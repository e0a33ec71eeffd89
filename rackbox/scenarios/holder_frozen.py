"""Every process of the floating IP's holder stops, and goes on when the fault is healed as if nothing had been: it
believes that it still holds the address. Until then its kernel answers ARP for it, so taking the address over is not
enough; where the cluster can switch the holder off, nobody else answers."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="holder-frozen",
    summary="all processes of the floating IP's holder frozen",
    fault="frozen",
    target="vip-holder",
    settle=3.0,
    one_holder=False,
    fenced_limits={"double_holder_ms": 0},
)

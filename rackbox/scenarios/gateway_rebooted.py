"""The gateway is rebooted: the way from the balancers to the masters, the lab's names, and the third vote are gone for
a while. Nothing may move for that, and all must come back by itself."""

from __future__ import annotations

from rackbox.scenarios.base import PAIR, SERVICE, Scenario

SCENARIO = Scenario(
    name="gateway-rebooted",
    summary="the gateway rebooted (systemctl reboot)",
    fault="rebooted",
    target="gateways",
    probes=(*SERVICE, "dns"),
    needs={"gateway": 1, **PAIR},
    recover=60.0,
    limits={"moves": 0},
)

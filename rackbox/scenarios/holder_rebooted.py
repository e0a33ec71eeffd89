"""The floating IP's holder is rebooted in good order. It should hand the address over before it goes, and not ask for
it back when it comes."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="holder-rebooted",
    summary="the floating IP's holder rebooted (systemctl reboot)",
    fault="rebooted",
    target="vip-holder",
    limits={"moves": 1},
)

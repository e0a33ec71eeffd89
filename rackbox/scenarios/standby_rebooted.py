"""The balancer that does not hold the floating IP is rebooted. Nobody should feel it."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="standby-rebooted",
    summary="the standby rebooted (systemctl reboot)",
    fault="rebooted",
    target="vip-standby",
    limits={"failed": 0, "moves": 0},
)

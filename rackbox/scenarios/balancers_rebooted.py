"""Both balancers are rebooted at the same time. There is nobody to take over; the pair must find together again by
itself, and serve, without being asked."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="balancers-rebooted",
    summary="both balancers rebooted at once",
    fault="rebooted",
    target="balancers",
    recover=60.0,
)

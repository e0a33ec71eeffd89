"""Corosync hangs on the floating IP's holder. It is mute like a killed one, but nobody there notices, and it goes on
later as if nothing had been."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="corosync-hung",
    summary="Corosync hung on the floating IP's holder",
    fault="corosync-hung",
    target="vip-holder",
    stacks=("pacemaker",),
    settle=5.0,
    one_holder=False,
    fenced_limits={"double_holder_ms": 0},
)

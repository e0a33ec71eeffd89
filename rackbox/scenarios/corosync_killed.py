"""Corosync is killed on the floating IP's holder: the machine is well, and mute. The other must take it for lost, and
it must not go on holding the address when it comes back."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="corosync-killed",
    summary="Corosync killed on the floating IP's holder",
    fault="corosync-killed",
    target="vip-holder",
    stacks=("pacemaker",),
    settle=5.0,
    one_holder=False,
    fenced_limits={"double_holder_ms": 0},
)

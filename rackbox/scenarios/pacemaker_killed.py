"""Every daemon of Pacemaker is killed on the floating IP's holder, while Corosync goes on: the address is there, and
nobody looks after it."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="pacemaker-killed",
    summary="Pacemaker killed on the floating IP's holder",
    fault="pacemaker-killed",
    target="vip-holder",
    stacks=("pacemaker",),
    settle=5.0,
    one_holder=False,
    fenced_limits={"double_holder_ms": 0},
)

"""The floating IP's holder is paused as a whole, its kernel too, as a hypervisor does it that moves or saves a
machine; then it goes on, with a clock that stood still."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="holder-paused",
    summary="the floating IP's holder paused, its kernel too",
    fault="paused",
    target="vip-holder",
    settle=3.0,
    one_holder=False,
    fenced_limits={"double_holder_ms": 0},
)

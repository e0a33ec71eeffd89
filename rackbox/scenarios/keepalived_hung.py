"""keepalived hangs on the floating IP's holder: no adverts, and the address stays. When it goes on it must see that it
was replaced."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="keepalived-hung",
    summary="keepalived hung on the floating IP's holder",
    fault="keepalived-hung",
    target="vip-holder",
    stacks=("keepalived",),
    settle=3.0,
    one_holder=False,
)

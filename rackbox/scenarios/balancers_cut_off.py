"""The two balancers lose sight of each other while both still face the client. Each must believe that the other is
dead; only a third vote or fencing can say which of them may go on. When they see each other again, one of two holders
must let go, and that should not be felt either."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="balancers-cut-off",
    summary="the balancers cut off from each other, both still facing the client",
    fault="cut-off-from-peer",
    target="balancers",
    probes=(*SERVICE, "etcd-keepalive", "etcd-watch"),
    limits={"second_outage_ms": 500},
    # The one that was switched off boots again, on the same computer, and that stalls requests for a tenth of a second.
    fenced_limits={"double_holder_ms": 0, "second_outage_ms": 250},
    settle=3.0,
    one_holder=False,
)

"""HAProxy hangs on the balancer that holds the floating IP: its unit is active, its ports accept, and nothing is
answered. Only a question to the process itself can tell; whoever asks must then end it, or move the address."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="haproxy-hung",
    summary="HAProxy hung (SIGSTOP, all processes) on the floating IP's holder",
    fault="haproxy-hung",
    target="vip-holder",
)

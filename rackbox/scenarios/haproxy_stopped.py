"""Somebody stops HAProxy on the balancer that holds the floating IP, in good order and by mistake. systemd was told to
and will not start it again; the cluster must, or move the address."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="haproxy-stopped",
    summary="HAProxy stopped (systemctl stop) on the floating IP's holder",
    fault="haproxy-stopped",
    target="vip-holder",
)

"""The scenarios, by name, in the order in which they are run. A new one is one file and one line here."""

from __future__ import annotations

from rackbox.scenarios import etcd_leader_powered_off, haproxy_killed, holder_powered_off
from rackbox.scenarios.base import Scenario

SCENARIOS: dict[str, Scenario] = {
    module.SCENARIO.name: module.SCENARIO
    for module in (
        haproxy_killed,
        holder_powered_off,
        etcd_leader_powered_off,
    )
}

__all__ = ["SCENARIOS", "Scenario"]

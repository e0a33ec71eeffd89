"""The first record of a history: what the verdict needs, and what must stand beside every figure. Entry point:
``make_header``."""

from __future__ import annotations

import hashlib
import os
import platform
import ssl
from collections.abc import Mapping

import rackbox
from rackbox.history import SCHEMA, JsonValue
from rackbox.machine import Lab
from rackbox.plan import plan_json
from rackbox.probes import PROBES
from rackbox.repertoire import find_budget
from rackbox.scenarios import Scenario, find_limits
from rackbox.topology import Topology


def make_header(
    lab: Lab, scenario: Scenario, group: str, number: int, provider: str, facts: Mapping[str, JsonValue] | None
) -> dict[str, JsonValue]:
    """The header of repeat ``number`` of ``scenario`` in the series ``group``."""
    topology = lab.topology
    balancer = topology.load_balancer
    return {
        "schema": SCHEMA,
        "lab": topology.lab,
        "topology": hashlib.sha256(repr(topology).encode()).hexdigest()[:16],
        "provider": provider,
        "group": group,
        "number": number,
        "scenario": scenario.name,
        "fault": scenario.fault,
        "target": scenario.target,
        "probes": scenario.probes,
        "judged": scenario.judged,
        "budget_ms": find_budget(topology, scenario),
        "limits": find_limits(topology, scenario),
        "expects_bite": scenario.expects_bite,
        "one_holder": scenario.one_holder,
        "settle_s": scenario.settle,
        "probe_interval_ms": topology.failover.probe_interval_ms,
        "probe_timeout_ms": topology.failover.probe_timeout_ms,
        "paces": {name: PROBES[name].pace for name in scenario.probes},
        "watchers": list_watched(topology, scenario),
        "macs": list_macs(topology),
        "ha": balancer.ha if balancer else None,
        "profile": balancer.profile if balancer else None,
        "fencing": balancer.fencing if balancer else None,
        "third_vote": balancer.third_vote if balancer else None,
        "balancer": plan_json(topology)["load_balancer"],
        "machines": len(topology.nodes),
        "software": {
            "rackbox": rackbox.__version__,
            "python": platform.python_version(),
            "kernel": platform.release(),
            "tls": ssl.OPENSSL_VERSION,
        },
        "cpus": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "facts": dict(facts or {}),
    }


def list_watched(topology: Topology, scenario: Scenario) -> list[str]:
    """The balancers on which a watcher is expected to speak: all of a pair."""
    balancers = [node.name for node in topology.by_role("lb")]
    return balancers if scenario.watchers and len(balancers) > 1 else []


def list_macs(topology: Topology) -> dict[str, str]:
    """The balancers' MACs in the floating IP's network, lower case: who is meant by an ARP answer."""
    balancer = topology.load_balancer
    if balancer is None:
        return {}
    network = balancer.floating_ip.network
    return {
        node.name: nic.mac.lower() for node in topology.by_role("lb") for nic in node.nics if nic.network == network
    }

"""Plan: the tables fit and say it all; the JSON is stable."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from rackbox.config import parse_config
from rackbox.load import load_topology
from rackbox.paths import PROJECT
from rackbox.plan import plan_json, print_plan
from rackbox.planner import plan_topology
from rackbox.topology import Topology
from rackbox.yamlfile import YamlFile
from tests.fakes import with_stack


@pytest.fixture(scope="module")
def default() -> Topology:
    return load_topology(PROJECT / "config/default.yaml")


def printed(topology: Topology, width: int = 100, **more: Any) -> str:
    stream = io.StringIO()
    print_plan(topology, Console(file=stream, width=width), **more)
    return stream.getvalue()


def test_everything_is_in_the_tables(default: Topology) -> None:
    text = printed(default)
    for node in default.nodes:
        for nic in node.lab_nics:
            assert f"{nic.address}" in text
            assert nic.mac in text, "rich reads the :ab: of a MAC address as an emoji unless told not to"
        assert str(node.management.address.ip) in text
    for word in (
        "192.168.4.20/24",
        "vip.kube.demo",
        "12379",
        "16 names",
        "pacemaker",
        "containerd 8G",
        "kept by pacemaker (token 150ms, monitor 500ms)",
        "scenarios, budgets of",
    ):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_what_keeps_the_address_is_told_by_its_own_figures(default: Topology) -> None:
    text = printed(with_stack("keepalived"))
    tuned = with_stack("keepalived").load_balancer
    assert tuned is not None
    assert f"kept by keepalived (advert {tuned.keepalived.advert_ms}ms, gone after " in text
    assert "token" not in text
    assert "advert" not in printed(default)


@pytest.mark.parametrize(
    ("playable", "says"),
    [
        (["haproxy-killed"], "1 scenarios, budgets of 500ms: "),
        (["haproxy-killed", "haproxy-hung"], "2 scenarios, budgets of 500ms to 2s: "),
        ([], "nothing that can be broken on purpose: "),
    ],
)
def test_budgets_are_those_of_what_can_be_played(default: Topology, playable: list[str], says: str) -> None:
    assert says in printed(default, playable=playable)


def test_the_provider_stands_in_the_first_line(default: Topology) -> None:
    assert "provider lxc" in printed(default, provider="provider lxc").splitlines()[0]


def test_tables_hold_on_a_narrow_terminal(default: Topology) -> None:
    assert "lb2" in printed(default, width=60)


def test_capabilities_stand_beside(default: Topology) -> None:
    text = printed(default, capabilities=[("lvm", False, "directories instead"), ("power off", True, "links first")])
    assert "directories instead" in text
    assert "directories" not in printed(default)


def test_a_big_lab_is_summed_up() -> None:
    data = {
        "name": "big",
        "networks": {"a": {"cidr": "10.1.0.0/16"}},
        "nodes": {"gateway": None, "worker": {"network": "a", "count": 500}},
    }
    text = printed(plan_topology(parse_config(YamlFile("lab.yaml", data, {}))))
    assert "Machines (501)" in text
    assert "494 more" in text
    assert "worker500" in text
    assert len(text.splitlines()) < 40


def test_json_is_plain_and_complete(default: Topology) -> None:
    found = plan_json(default, [("lvm", False, "directories instead")])
    assert json.loads(json.dumps(found)) == found
    assert list(found) == [
        "schema",
        "lab",
        "domain",
        "os",
        "uplink",
        "networks",
        "machines",
        "load_balancer",
        "services",
        "gluster",
        "kubernetes",
        "dns",
        "failover",
        "capabilities",
        "totals",
    ]
    assert found["schema"] == 1
    assert found["machines"][3] == {
        "name": "master1",
        "fqdn": "master1.kube.demo",
        "role": "master",
        "index": 1,
        "cpus": 2,
        "memory_mib": 2048,
        "address": "192.168.1.11",
        "nics": [
            {
                "network": "mgmt",
                "mac": "02:a0:19:02:ae:f6",
                "address": "10.77.3.1/16",
                "dhcp": False,
                "default_route": False,
            },
            {
                "network": "mast",
                "mac": "02:b9:99:fc:2e:b8",
                "address": "192.168.1.11/24",
                "dhcp": True,
                "default_route": True,
            },
        ],
        "volumes": [{"name": "etcd", "mount": "/var/lib/etcd", "size_mib": 2048, "disk_mib": 0}],
        "disk_mib": 0,
    }
    assert found["networks"][2]["broadcast"] == "192.168.4.255"
    assert found["totals"]["machines"] == 11


def test_a_lab_of_one_gateway() -> None:
    topology = plan_topology(parse_config(YamlFile("lab.yaml", {"name": "one", "nodes": {"gateway": None}}, {})))
    found = plan_json(topology)
    assert (found["load_balancer"], found["services"], found["gluster"]) == (None, [], None)
    assert "floating IP" not in printed(topology)


def test_a_cluster_is_in_both() -> None:
    topology = load_topology(PROJECT / "config/kubernetes.yaml")
    assert plan_json(topology)["kubernetes"] == {
        "source": "auto",
        "version": None,
        "endpoint": "api.kube.demo:6443",
        "pod_network": "10.244.0.0/16",
        "service_network": "10.96.0.0/12",
        "dns_address": "10.96.0.10",
        "pool": ["192.168.2.2-192.168.2.126"],
        "proxy": "nftables",
        "runtime": "containerd",
        "etcd": "external",
        "ingress": "traefik",
        "ingress_domain": "apps.kube.demo",
    }
    text = printed(topology)
    assert "api.kube.demo:6443, pods 10.244.0.0/16" in text
    assert "192.168.4.20:6443" in text
    assert "http :30012" in text
    assert "*.apps.kube.demo, served by traefik" in text
    web = next(service for service in plan_json(topology)["services"] if service["name"] == "ingress-http")
    assert (web["port"], web["host_port"], web["proxy_protocol"], web["check"]["port"]) == (80, 10080, True, 30012)

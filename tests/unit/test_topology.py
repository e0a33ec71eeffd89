"""Topology: what a config means, as tables and as properties of any config."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackbox.addresses import mac_address
from rackbox.config import parse_config
from rackbox.errors import ConfigError
from rackbox.load import load_topology
from rackbox.paths import PROJECT
from rackbox.planner import plan_topology
from rackbox.topology import MANAGEMENT, WAN, Node, Topology
from rackbox.yamlfile import YamlFile

ALL_ROLES = ("gateway", "lb", "master", "gluster", "worker")


def planned(**keys: Any) -> Topology:
    data = {"name": "lab", "nodes": dict.fromkeys(ALL_ROLES), **keys}
    return plan_topology(parse_config(YamlFile("lab.yaml", data, {})))


def nodes(**roles: Any) -> dict[str, Any]:
    return {"gateway": None, **roles}


@pytest.fixture(scope="module")
def default() -> Topology:
    return load_topology(PROJECT / "config/default.yaml")


def test_the_default_lab(default: Topology) -> None:
    assert {node.name: str(node.address) for node in default.nodes} == {
        "gateway": "192.168.4.254",
        "lb1": "192.168.4.21",
        "lb2": "192.168.4.22",
        "master1": "192.168.1.11",
        "master2": "192.168.1.12",
        "master3": "192.168.1.13",
        "gluster1": "192.168.3.11",
        "gluster2": "192.168.3.12",
        "gluster3": "192.168.3.13",
        "worker1": "192.168.2.131",
        "worker2": "192.168.2.132",
    }
    assert str(default.load_balancer.floating_ip.address) == "192.168.4.20/24" if default.load_balancer else False
    assert [network.name for network in default.networks] == ["mgmt", "wan", "dmz", "mast", "node", "glus"]
    assert [str(network.gateway) for network in default.lab_networks] == [f"192.168.{n}.254" for n in (4, 1, 2, 3)]
    assert default.client_network.name == "dmz"


def test_the_small_lab() -> None:
    small = load_topology(PROJECT / "config/small.yaml")
    assert [node.name for node in small.nodes] == ["gateway", "lb1", "lb2", "master1"]
    assert small.gluster_volume is None


def test_nics_of_the_gateway(default: Topology) -> None:
    gateway = default.node("gateway")
    assert [nic.network for nic in gateway.nics] == ["mgmt", "wan", "dmz", "mast", "node", "glus"]
    assert [nic.network for nic in gateway.nics if nic.default_route] == ["wan"]
    assert not any(nic.dhcp for nic in gateway.nics)
    assert str(gateway.nic(WAN).address) == "198.51.100.254/24"
    assert default.network(WAN).gateway == IPv4Address("198.51.100.1")


def test_nics_of_everybody_else(default: Topology) -> None:
    for node in default.nodes[1:]:
        assert node.management.network == MANAGEMENT
        assert [(nic.dhcp, nic.default_route) for nic in node.nics] == [(False, False), (True, True)]


def test_dns_of_the_default_lab(default: Topology) -> None:
    names = Counter(record.name for record in default.dns)
    assert names["gateway.kube.demo"] == 4
    assert names["vip.kube.demo"] == names["etcd.kube.demo"] == names["worker2.kube.demo"] == 1
    assert [record.name for record in default.dns if not record.ptr] == ["etcd.kube.demo"]
    reverse = [record.address for record in default.dns if record.ptr]
    assert len(reverse) == len(set(reverse))


def test_services_have_the_role_s_machines() -> None:
    service = {"name": "api", "port": 6443, "backend": "worker", "backend_port": 443, "check": {"path": "/readyz"}}
    found = planned(load_balancer={"services": [service]}).services[0]
    assert [(backend.name, backend.port) for backend in found.backends] == [("worker1", 443), ("worker2", 443)]
    assert (found.check.type, found.host_port) == ("https", 16443)


def test_volumes_of_the_role_can_be_resized_and_added_to() -> None:
    volumes = {"etcd": {"size": "4G"}, "log": {"size": "1G", "mount": "/srv/log"}}
    found = planned(nodes=nodes(master={"volumes": volumes})).node("master1").volumes
    assert [(volume.name, volume.mount, volume.size_mib) for volume in found] == [
        ("etcd", "/var/lib/etcd", 4096),
        ("log", "/srv/log", 1024),
    ]


def test_counting_goes_over_what_is_taken_and_reserved() -> None:
    networks = {"a": {"cidr": "10.1.0.0/24", "reserved": ["10.1.0.12-10.1.0.13", "10.1.0.15"]}}
    roles = nodes(
        master={"network": "a", "addresses": ["10.1.0.11"]},
        worker={"network": "a", "count": 4, "first_address": "10.1.0.10"},
    )
    topology = planned(networks=networks, nodes=roles)
    found = [str(node.address) for node in topology.by_role("worker")]
    assert found == ["10.1.0.10", "10.1.0.14", "10.1.0.16", "10.1.0.17"]


def test_a_small_network_is_filled_from_its_beginning() -> None:
    networks = {"a": {"cidr": "10.1.0.0/29"}}
    topology = planned(networks=networks, nodes=nodes(worker={"network": "a", "count": 4}))
    assert [str(node.address) for node in topology.by_role("worker")] == [f"10.1.0.{n}" for n in (2, 3, 4, 5)]
    with pytest.raises(ConfigError, match="must be at most 4: a"):
        planned(networks=networks, nodes=nodes(worker={"network": "a", "count": 5}))


def test_all_roles_on_one_network() -> None:
    networks = {"a": {"cidr": "10.1.0.0/24"}}
    roles = nodes(**{role: {"network": "a"} for role in ALL_ROLES[1:]})
    topology = planned(networks=networks, nodes=roles)
    assert len({node.address for node in topology.nodes}) == 11
    assert topology.client_network.name == "a"


def test_clients_stand_with_the_balancers_or_where_they_are_told() -> None:
    assert planned().client_network.name == "dmz"
    assert planned(client_network="node").client_network.name == "node"
    assert planned(networks={"z": {"cidr": "10.1.0.0/24"}}, nodes=nodes()).client_network.name == "z"


def test_two_machines_with_one_mac_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rackbox.planner.mac_address", lambda lab, machine, network: mac_address(lab, "x", network))
    with pytest.raises(ConfigError, match="name: must be another name: gateway and lb1 get the same MAC"):
        planned()


def test_labs_with_different_names_share_no_mac() -> None:
    one, other = (planned(name=name) for name in ("one", "other"))
    assert not macs(one) & macs(other)


def test_many_workers_have_management_addresses_of_their_own() -> None:
    topology = planned(networks={"a": {"cidr": "10.1.0.0/16"}}, nodes=nodes(worker={"network": "a", "count": 3000}))
    assert len({node.management.address for node in topology.nodes}) == 3001
    with pytest.raises(ConfigError, match=r"nodes\.worker\.count: must be at most 2814: management"):
        planned(
            management="10.77.0.0/20",
            networks={"a": {"cidr": "10.1.0.0/16"}},
            nodes=nodes(worker={"network": "a", "count": 3000}),
        )


def macs(topology: Topology) -> set[str]:
    return {nic.mac for node in topology.nodes for nic in node.nics}


@st.composite
def labs(draw: st.DrawFn) -> dict[str, Any]:
    """Configs that should all be good: any networks, prefixes and counts that have room."""
    names = ["dmz", "mast", "node", "glus"]
    prefixes = draw(st.lists(st.integers(20, 24), min_size=4, max_size=4))
    networks: dict[str, Any] = {}
    for at, (name, prefix) in enumerate(zip(names, prefixes, strict=True)):
        networks[name] = {"cidr": f"172.{16 + at}.{draw(st.integers(0, 15)) * 16}.0/{prefix}"}
    return {
        "name": draw(st.from_regex(r"[a-z][a-z0-9]{0,19}", fullmatch=True)),
        "domain": draw(st.sampled_from(["kube.demo", "lab", "a.b.c"])),
        "networks": networks,
        "nodes": nodes(
            lb=draw(st.sampled_from([None, {"count": 0}])),
            master={"count": draw(st.sampled_from([1, 3, 5]))},
            gluster={"count": draw(st.sampled_from([0, 3, 6]))},
            worker={"count": draw(st.integers(0, 60))},
        ),
    }


@settings(max_examples=60, deadline=None)
@given(labs())
def test_any_lab(data: dict[str, Any]) -> None:
    topology = planned(**data)
    assert topology == planned(**data), "the same file gives the same lab"
    seen: set[tuple[str, IPv4Address]] = set()
    for node in topology.nodes:
        for nic in node.nics:
            network = topology.network(nic.network)
            assert nic.address.network == network.cidr
            assert network.cidr.network_address < nic.address.ip < network.broadcast
            assert (nic.network, nic.address.ip) not in seen
            assert nic.address.ip != network.client
            seen.add((nic.network, nic.address.ip))
            first = int(nic.mac.split(":")[0], 16)
            assert first & 0b11 == 0b10, "locally administered, unicast"
    assert len(macs(topology)) == sum(len(node.nics) for node in topology.nodes)
    if topology.load_balancer:
        vip = topology.load_balancer.floating_ip
        assert (vip.network, vip.address.ip) not in seen
    for network in topology.networks:
        size = 2 ** (32 - network.cidr.prefixlen)
        assert int(network.broadcast) == int(network.cidr.network_address) + size - 1
        assert int(network.netmask) == 2**32 - size


def identity(node: Node) -> tuple[Any, ...]:
    return (node.name, node.nics, node.index)


@settings(max_examples=40, deadline=None)
@given(labs(), st.sampled_from(["worker", "master", "gluster"]))
def test_one_more_machine_moves_nobody(data: dict[str, Any], role: str) -> None:
    before = planned(**data)
    step = {"worker": 1, "master": 2, "gluster": 3}[role]
    grown = {**data["nodes"], role: {"count": data["nodes"][role]["count"] + step}}
    after = planned(**{**data, "nodes": grown})
    kept = {node.name: identity(node) for node in after.nodes}
    assert all(kept[node.name] == identity(node) for node in before.nodes)
    assert len(after.nodes) == len(before.nodes) + step


@pytest.mark.parametrize(("token", "consensus", "heartbeat"), [("150ms", "60ms", 100), ("3s", "3600ms", 3143)])
def test_the_third_vote_is_as_patient_as_the_balancers(token: str, consensus: str, heartbeat: int) -> None:
    """Faster than that, it would be lost for every moment in which a slow machine does nothing."""
    planned_lab = planned(load_balancer={"corosync": {"token": token, "consensus": consensus}})
    balancer = planned_lab.load_balancer
    assert balancer is not None
    assert balancer.vote_heartbeat_ms == heartbeat
    assert 1 <= 2.2 * heartbeat / (balancer.token_ms + balancer.consensus_ms) <= 1.05

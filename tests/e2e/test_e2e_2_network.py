"""What the lab's networks let through: names and traffic to the outside by the gateway alone, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.labs import LabUnderTest
from tests.e2e.outside import NAME, PORT, Outside, outside_of

CURL = "curl --silent --show-error --max-time 3"
HOST_ON_MANAGEMENT = "10.77.0.1"


@pytest.fixture(scope="module")
def outside(default_lab: LabUnderTest) -> Iterator[Outside]:
    with outside_of(default_lab) as made:
        yield made


@pytest.mark.timeout(60, func_only=True)
def test_a_worker_reaches_the_outside_under_the_gateways_address(lab: LabUnderTest, outside: Outside) -> None:
    assert lab.run("worker1", f"{CURL} {outside.url}").stdout == outside.gateway


@pytest.mark.timeout(60, func_only=True)
def test_a_worker_learns_outside_names_from_the_gateway(lab: LabUnderTest, outside: Outside) -> None:
    assert lab.run("worker1", f"{CURL} http://{NAME}:{PORT}/").stdout == outside.gateway
    unknown = lab.run("worker1", "getent ahostsv4 no-such-name.outside.test", check=False)
    assert unknown.returncode == 2


NEWCOMER = """
address() {{ ip -json link show {bridge} | jq -r '.[].address'; }}
trap 'ip link delete newcomer' EXIT
before=$(address)
ip link add newcomer address 00:00:00:00:00:01 type veth peer name newcomers-end
ip link set newcomer master {bridge} up
[ "$(address)" = "$before" ]"""


@pytest.mark.timeout(60, func_only=True)
def test_the_places_own_address_stays_when_machines_come_and_go(lab: LabUnderTest) -> None:
    """Else a bridge has its lowest port's: with that machine off, nobody finds the client or the power switch."""
    for network in lab.live.topology.networks:
        lab.client(["bash", "-euc", NEWCOMER.format(bridge=network.name)])


@pytest.mark.timeout(60, func_only=True)
def test_without_the_gateways_forwarding_there_is_no_outside(lab: LabUnderTest, outside: Outside) -> None:
    cut = 'nft insert rule inet rackbox forward oifname "wan" drop'
    try:
        lab.run("gateway", cut)
        assert lab.run("worker1", f"{CURL} {outside.url}", check=False).returncode == 28  # curl's "timed out"
    finally:
        lab.run("gateway", "nft -f /etc/nftables.conf")
    assert lab.run("worker1", f"{CURL} {outside.url}").stdout == outside.gateway


@pytest.mark.timeout(60, func_only=True)
def test_the_management_network_is_no_path_between_machines(lab: LabUnderTest) -> None:
    topology = lab.live.topology
    port_22 = "timeout 2 bash -c 'exec 3<>/dev/tcp/{}/22'"

    def try_one(name: str) -> int:
        return lab.run("worker1", port_22.format(topology.node(name).management.address.ip), check=False).returncode

    names = ["worker2", "master1", "gateway"]
    with ThreadPoolExecutor() as pool:
        assert dict(zip(names, pool.map(try_one, names), strict=True)) == dict.fromkeys(names, 124)  # "timed out"
    # The question is fair: by the lab's own networks the same port answers.
    lab.run("worker1", port_22.format(topology.node("master1").address))


@pytest.mark.timeout(60, func_only=True)
def test_the_management_network_is_no_path_to_the_outside(lab: LabUnderTest, outside: Outside) -> None:
    script = f"""
trap 'ip route del {outside.address}/32' EXIT
ip route add {outside.address}/32 via {HOST_ON_MANAGEMENT} dev mgmt
ip route get {outside.address} | grep -q 'dev mgmt'
{CURL} {outside.url}"""
    assert lab.run("worker1", script, check=False).returncode in (7, 28)  # "no route" or "timed out"
    assert lab.run("worker1", f"{CURL} {outside.url}").stdout == outside.gateway


@pytest.mark.timeout(60, func_only=True)
def test_unsolicited_traffic_from_outside_is_dropped_in_silence(lab: LabUnderTest, outside: Outside) -> None:
    inside = lab.live.topology.node("worker1").address
    master = lab.live.topology.node("master1").address
    targets = [(outside.gateway, 22), (outside.gateway, 53), (str(inside), 22), (str(master), 2379)]
    with ThreadPoolExecutor() as pool:
        seen = dict(zip(targets, pool.map(lambda target: outside.connect(*target), targets), strict=True))
    assert seen == dict.fromkeys(targets, "silence")
    # The gateway was there to hear it all: it has answered who has its address.
    assert "lladdr" in outside.run(["ip", "neighbour", "show", outside.gateway]).stdout

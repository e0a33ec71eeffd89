"""A lab comes up by one command, says so, and stays as it is when asked again."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from rackbox.up import open_vagrant
from tests.e2e.labs import LabUnderTest


@pytest.mark.timeout(90, func_only=True)
def test_up_again_changes_nothing_and_is_quick(lab: LabUnderTest) -> None:
    before = lab.boots()
    again = lab.up()
    assert "nothing to do" in again.stderr
    assert again.seconds < 15
    assert lab.boots() == before


@pytest.mark.timeout(60, func_only=True)
def test_status_has_one_verdict_and_is_quick(lab: LabUnderTest) -> None:
    result = lab.cli("status", "--json")
    document = json.loads(result.stdout)
    assert document["verdict"] == "healthy"
    assert document["problems"] == []
    assert {machine["name"] for machine in document["machines"]} == set(lab.names())
    assert document["floating_ip_holder"] in lab.names("lb")
    assert document["etcd_leader"] in lab.names("master")
    assert result.stderr == ""
    assert result.seconds < 5
    assert "healthy: 11 of 11 machines" in lab.cli("status").stdout


@pytest.mark.timeout(60, func_only=True)
def test_vagrant_finds_nothing_wrong_with_the_vagrantfile(lab: LabUnderTest) -> None:
    open_vagrant(lab.live).validate()


@pytest.mark.timeout(60, func_only=True)
def test_every_address_is_a_lease_of_the_gateway(lab: LabUnderTest) -> None:
    topology = lab.live.topology
    wanted = {(nic.mac, str(nic.address.ip), node.name) for node in topology.nodes for nic in node.nics if nic.dhcp}
    assert len(wanted) == 10
    text = lab.run("gateway", "cat /var/lib/misc/dnsmasq.leases").stdout
    leases = {(fields[1], fields[2], fields[3]) for line in text.splitlines() if len(fields := line.split()) >= 4}
    assert leases == wanted
    for name, document in lab.live.read_documents().items():
        assert document is not None, name
        held = {nic.network: str(nic.address) for nic in topology.node(name).nics if nic.dhcp}
        assert document["dhcp"] == held


@pytest.mark.timeout(90, func_only=True)
def test_every_name_resolves_from_every_machine_both_ways(lab: LabUnderTest) -> None:
    records = lab.live.topology.dns
    forward: dict[str, set[str]] = {}
    reverse: dict[str, set[str]] = {}
    for record in records:
        forward.setdefault(record.name, set()).add(str(record.address))
        if record.ptr:
            reverse.setdefault(str(record.address), set()).add(record.name)
    script = "\n".join(
        [
            *(f"echo {name} $(getent ahostsv4 {name} | sort -u | awk '/STREAM/ {{print $1}}')" for name in forward),
            *(f"echo {address} $(getent hosts {address} | awk '{{print $2}}')" for address in reverse),
        ]
    )
    wanted = {**forward, **reverse}
    assert len(wanted) > 25
    for machine, said in lab.on_each(lab.names(), script, timeout=45).items():
        found = {line.split()[0]: set(line.split()[1:]) for line in said.splitlines()}
        wrong = {what: (found.get(what), wanted[what]) for what in wanted if found.get(what) != wanted[what]}
        own = {str(nic.address.ip) for nic in lab.live.topology.node(machine).nics}
        # A machine that asks for itself may also be told the addresses that only it has (nss-myhostname).
        wrong = {w: v for w, v in wrong.items() if not (v[0] and v[1] <= v[0] <= v[1] | own)}
        assert not wrong, f"{machine}: {wrong}"
    assert all(ip_address(address) for address in reverse)

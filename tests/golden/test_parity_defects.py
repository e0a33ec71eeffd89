"""What hand-typed guides of this kind get wrong, each looked for in what rackbox renders.

The numbers are those of the defects' catalogue; the tests of defects that only a running lab can show are elsewhere.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network

import pytest
import yaml

from rackbox.topology import MANAGEMENT
from tests.rendering import rendered, shipped, text

LAB = "default"


def config(node: str, path: str) -> str:
    return text(LAB, f"nodes/{node}/files{path}")


def directives(content: str) -> list[str]:
    """The lines that are not comments, without indentation."""
    return [line.strip() for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("node", [node.name for node in shipped(LAB).nodes])
def test_defect_03_user_data_is_yaml_with_known_keys(node: str) -> None:
    """A `permission:` for `permissions:` is silently ignored by cloud-init. (Consumer tier: its own schema.)"""
    data = yaml.safe_load(text(LAB, f"nodes/{node}/user-data"))
    assert all(set(file) <= {"path", "content", "permissions", "owner", "encoding"} for file in data["write_files"])
    assert all(re.fullmatch("0[0-7]{3}", file["permissions"]) for file in data["write_files"])
    for name in ("network-config", "meta-data"):
        assert isinstance(yaml.safe_load(text(LAB, f"nodes/{node}/{name}")), dict)


def test_defect_04_dhcp_broadcast_is_the_networks_last_address() -> None:
    lines = directives(config("gateway", "/etc/dnsmasq.d/rackbox.conf"))
    ranges = [line.split("=", 1)[1].split(",") for line in lines if line.startswith("dhcp-range=")]
    assert len(ranges) == len(shipped(LAB).lab_networks)
    for _tag, start, _static, mask, broadcast, _lease in ranges:
        assert str(IPv4Network(f"{start}/{mask}").broadcast_address) == broadcast


def test_defect_05_silent_streams_are_not_cut() -> None:
    lines = directives(config("lb1", "/etc/haproxy/haproxy.cfg"))
    service = lines[lines.index("listen etcd") : lines.index("listen stats")]
    for kind in ("client", "server", "tunnel"):
        assert f"timeout {kind} {24 * 3600 * 1000}ms" in service
    connect = next(line for line in service if line.startswith("timeout connect"))
    assert 0 < int(connect.split()[-1].removesuffix("ms")) <= 1000


def test_defect_06_backends_are_asked_by_https_with_a_client_certificate() -> None:
    lines = directives(config("lb1", "/etc/haproxy/haproxy.cfg"))
    assert "option httpchk" in lines
    # Serializable: an election, during which every plain /health fails, must not empty the backend.
    assert any("uri /health?serializable=true" in line for line in lines if line.startswith("http-check send"))
    servers = [line for line in lines if line.startswith("server ") and not line.endswith(" backup")]
    assert len(servers) == 3
    # Those that are asked of nobody are for the case that all of the former have failed.
    assert len([line for line in lines if line.startswith("server ")]) == 6
    for line in servers:
        assert "check check-ssl verify required ca-file" in line
        assert "crt /etc/haproxy/pki/client.pem" in line
        assert "verifyhost" in line
    assert not any("verify none" in line for line in lines)


def test_defect_07_every_address_is_reserved_by_mac() -> None:
    topology = shipped(LAB)
    hosts = [
        line.split("=", 1)[1].split(",")[:3]
        for line in directives(config("gateway", "/etc/dnsmasq.d/rackbox.conf"))
        if line.startswith("dhcp-host=")
    ]
    wanted = [[nic.mac, str(nic.address.ip), node.name] for node in topology.nodes for nic in node.lab_nics if nic.dhcp]
    assert sorted(hosts) == sorted(wanted)
    assert wanted
    # Names follow: each address that DHCP serves is the one that its machine's name stands for.
    lines = directives(config("gateway", "/etc/dnsmasq.d/rackbox.conf"))
    for _mac, address, name in wanted:
        assert f"host-record={name}.{topology.domain},{address}" in lines


def test_defect_08_the_haproxy_agent_is_ours_and_asks_haproxy() -> None:
    cib = config("lb1", "/etc/rackbox/cib.xml")
    assert 'class="ocf" provider="rackbox" type="haproxy"' in cib
    agent = config("lb1", "/usr/lib/ocf/resource.d/rackbox/haproxy")
    assert "GET /health" in agent
    everything = "".join(text(LAB, f"nodes/{node.name}/user-data") for node in shipped(LAB).nodes)
    assert not re.search(r"\b(wget|git clone|raw\.githubusercontent)\b", everything)
    fetched = [url for url in re.findall(r"curl[^\n]*?(https?://[^\s\"]+)", everything) if "127.0.0.1" not in url]
    assert fetched == []


def test_defect_11_network_cards_are_matched_by_mac() -> None:
    topology = shipped(LAB)
    for node in topology.nodes:
        network = yaml.safe_load(text(LAB, f"nodes/{node.name}/network-config"))
        for nic in node.nics:
            entry = network["ethernets"][nic.network]
            assert entry["match"] == {"macaddress": nic.mac}
            assert entry["set-name"] == nic.network
    for name, file in rendered(LAB).items():
        assert not re.search(rb"\b(enp\d+s\d+|eth\d|ens\d+)\b", file.data), name


def test_defect_12_one_path_and_strict_reverse_path_filter() -> None:
    topology = shipped(LAB)
    for node in topology.nodes:
        lines = directives(config(node.name, "/etc/sysctl.d/60-rackbox.conf"))
        assert "net.ipv4.conf.all.rp_filter = 1" in lines
        assert ("net.ipv4.ip_forward = 0" in lines) == (node.role != "gateway")
        network = yaml.safe_load(text(LAB, f"nodes/{node.name}/network-config"))["ethernets"]
        routed = [
            name
            for name, nic in network.items()
            if nic.get("routes") or nic.get("dhcp4-overrides", {}).get("use-routes")
        ]
        assert len(routed) == 1, f"{node.name}: one default route, not {routed}"
        assert routed != [MANAGEMENT]
    # The floating IP is on the network of the balancers' default route, so answers leave where questions came in.
    assert topology.load_balancer is not None
    for node in topology.by_role("lb"):
        route = next(nic.network for nic in node.nics if nic.default_route)
        assert route == topology.load_balancer.floating_ip.network


def test_defect_15_the_firewall_is_one_file_loaded_as_one_transaction() -> None:
    rules = config("gateway", "/etc/nftables.conf")
    lines = directives(rules)
    assert lines[0] == "flush ruleset"
    assert "type filter hook input priority filter; policy drop;" in lines
    assert "type filter hook forward priority filter; policy drop;" in lines
    for node in shipped(LAB).nodes:
        data = yaml.safe_load(text(LAB, f"nodes/{node.name}/user-data"))
        assert "bootcmd" not in data
        assert "runcmd" not in data
    # Nothing passes the management network, whatever else is allowed.
    forward = lines[lines.index("chain forward {") :]
    first_accept = next(index for index, line in enumerate(forward) if "accept" in line)
    drops = [line for line in forward[:first_accept] if "drop" in line and MANAGEMENT in line]
    assert len(drops) == 2

"""What a lab needs of this computer: sums, networks in use, and what VirtualBox allows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from rackbox.lab_needs import (
    ALLOWED,
    judge_disk,
    judge_memory,
    judge_networks_conf,
    judge_subnets,
    parse_networks_conf,
    parse_routes,
)
from tests.rendering import shipped

SMALL = shipped("small")
HOME_LAN = {IPv4Network("192.168.4.0/22"): "eth0"}


def test_memory_is_summed_up() -> None:
    wanted = sum(node.memory_mib for node in SMALL.nodes)
    assert judge_memory(SMALL, wanted).ok
    short = judge_memory(SMALL, wanted - 1)
    assert (short.ok, short.required) == (False, False)
    assert f"{wanted / 1024:.1f} GiB for the {len(SMALL.nodes)} machines of small" in short.need


def test_disks_are_summed_up_with_those_of_volumes() -> None:
    default = shipped("default")
    wanted = len(default.nodes) * 32 * 1024 + 3 * 5120
    assert judge_disk(default, wanted).ok
    assert not judge_disk(default, wanted - 1).ok
    larger = replace(default, nodes=tuple(replace(node, disk_mib=65536) for node in default.nodes))
    assert not judge_disk(larger, wanted).ok


@pytest.mark.parametrize(
    ("provider", "uplink", "ok"),
    [("lxc", "none", True), ("libvirt", "none", True), ("libvirt", "nat", False), ("virtualbox", "none", False)],
)
def test_a_network_in_use_matters_where_the_lab_is_not_apart(provider: str, uplink: str, ok: bool) -> None:
    check = judge_subnets(replace(SMALL, uplink=uplink), provider, HOME_LAN)  # type: ignore[arg-type] # a literal
    assert check.ok is ok
    assert "192.168.4.0/24 (dmz) meets 192.168.4.0/22 on eth0" in check.found


def test_routes_are_read() -> None:
    text = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0004A8C0\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0\n"
    )
    assert parse_routes(text) == HOME_LAN


def test_virtualbox_s_own_interfaces_do_not_count_nor_do_networks_inside() -> None:
    own = {IPv4Network("192.168.4.0/24"): "vboxnet1", IPv4Network("192.168.1.0/24"): "eth0"}
    assert judge_subnets(SMALL, "virtualbox", own).found == "none is in use here"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (None, ["10.77.0.0/16", "192.168.4.0/24"]),
        ("", ["10.77.0.0/16", "192.168.4.0/24"]),
        ("* 10.0.0.0/8 192.168.0.0/16\n* 2001::/64\n", []),
        ("# all of it\n* 10.77.0.0/16   # management\n10.0.0.0/8\n", ["192.168.4.0/24"]),
    ],
)
def test_networks_conf(text: str | None, refused: list[str]) -> None:
    check = judge_networks_conf(SMALL, text)
    assert check.ok == (not refused)
    assert check.fix.endswith(" ".join(["*", *refused]))


def test_what_virtualbox_allows_by_itself() -> None:
    assert parse_networks_conf("* 192.168.56.0/21") == ALLOWED

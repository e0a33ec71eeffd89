"""What one lab needs of this computer beside programs: memory, disk, and networks that can be told apart from its own.

Entry point: ``check_lab``. The rest is pure. None of it is required: a lab that is up has its share already.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from rackbox.durations import format_size
from rackbox.providers.virtualbox_settings import host_only
from rackbox.roles import BOX_DISK_MIB
from rackbox.tools import Check
from rackbox.topology import Topology

NETWORKS_CONF = Path("/etc/vbox/networks.conf")
ALLOWED = (IPv4Network("192.168.56.0/21", strict=False),)
"""What VirtualBox lets a host-only network have where there is no such file (its manual, "Host-Only Networking")."""
MEMINFO = Path("/proc/meminfo")
ROUTES = Path("/proc/net/route")
VIRTUAL_MACHINES = ("libvirt", "virtualbox")


def check_lab(topology: Topology, provider: str, kept: Path) -> list[Check]:
    """Looks at this computer. ``kept`` is the directory that labs' disks are in."""
    from rackbox.capabilities import parse_available_kib

    checks = []
    if provider in VIRTUAL_MACHINES:
        available = parse_available_kib(MEMINFO.read_text(encoding="ascii")) >> 10
        checks += [
            judge_memory(topology, available),
            judge_disk(topology, shutil.disk_usage(kept).free >> 20),
        ]
    checks.append(judge_subnets(topology, provider, read_routes()))
    if provider == "virtualbox":
        text = NETWORKS_CONF.read_text(errors="replace") if NETWORKS_CONF.exists() else None
        checks.append(judge_networks_conf(topology, text))
    return checks


def judge_memory(topology: Topology, available_mib: int) -> Check:
    wanted = sum(node.memory_mib for node in topology.nodes)
    need = f"{wanted / 1024:.1f} GiB for the {len(topology.nodes)} machines of {topology.lab}"
    fix = "end other programs, or give the machines less (nodes.<role>.memory)"
    found = f"{available_mib / 1024:.1f} GiB available"
    return Check("memory of the lab", available_mib >= wanted, found, need, fix, required=False)


def judge_disk(topology: Topology, free_mib: int) -> Check:
    """All that machines could write: disks take up only what is written."""
    wanted = sum(
        (node.disk_mib or BOX_DISK_MIB) + sum(volume.disk_mib for volume in node.own_disks) for node in topology.nodes
    )
    need = f"up to {format_size(wanted)} if the disks of {topology.lab} fill up"
    fix = "fine while machines write little; else make room, or set RACKBOX_HOME to a directory that has it"
    return Check("disks of the lab", free_mib >= wanted, f"{free_mib / 1024:.1f} GiB free", need, fix, required=False)


def read_routes() -> Mapping[IPv4Network, str]:
    try:
        return parse_routes(ROUTES.read_text(encoding="ascii"))
    except OSError:
        return {}


def parse_routes(text: str) -> Mapping[IPv4Network, str]:
    """The networks that a computer reaches other than by its default route, and by which device: /proc/net/route has
    addresses in hexadecimal, of the processor's byte order."""
    rows = [line.split() for line in text.splitlines()[1:]]
    routes = {}
    for device, address, *rest in (row for row in rows if len(row) >= 8):
        network, mask = (int.from_bytes(bytes.fromhex(word), sys.byteorder) for word in (address, rest[5]))
        if mask:
            routes[IPv4Network((network, mask.bit_count()), strict=False)] = device
    return routes


def judge_subnets(topology: Topology, provider: str, routes: Mapping[IPv4Network, str]) -> Check:
    """Whether this computer is on a network that the lab has, too. A lab in namespaces of its own does not mind, but
    its machines do not reach the other; VirtualBox's host-only networks are this computer's."""
    shared = provider == "virtualbox"
    mine = host_only(topology) if shared else topology.networks
    met = [
        f"{network.cidr} ({network.name}) meets {route} on {device}"
        for network in mine
        for route, device in routes.items()
        if network.cidr.overlaps(route) and not (shared and device.startswith("vboxnet"))
    ]
    need = "networks that this computer is not on" if shared or topology.uplink == "nat" else "any: the lab is apart"
    ok = not met or not (shared or topology.uplink == "nat")
    fix = "give the lab other networks (networks, management, wan)"
    return Check("networks", ok, "; ".join(met) or "none is in use here", need, fix, required=False)


def judge_networks_conf(topology: Topology, text: str | None) -> Check:
    """Since 6.1.28 VirtualBox refuses host-only networks that its administrator has not allowed."""
    allowed = ALLOWED if text is None else parse_networks_conf(text)
    wanted = [network.cidr for network in host_only(topology)]
    refused = [str(cidr) for cidr in wanted if not any(cidr.subnet_of(network) for network in allowed)]
    found = f"{NETWORKS_CONF} {'is not there' if text is None else 'is there'}"
    if refused:
        found += f", {' and '.join(refused)} not allowed"
    fix = f"as root, add to {NETWORKS_CONF}: {' '.join(['*', *refused])}"
    return Check("networks.conf", not refused, found, f"allows {', '.join(map(str, wanted))}", fix, required=False)


def parse_networks_conf(text: str) -> Sequence[IPv4Network]:
    """Lines of ``*`` and networks; IPv6 and what cannot be read is passed over."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        for word in words[1:] if words[:1] == ["*"] else ():
            try:
                found.append(IPv4Network(word, strict=False))
            except ValueError:
                continue
    return tuple(found)

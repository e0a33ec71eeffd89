"""Gives every machine its addresses, and says which of the wished-for ones cannot be had.

``place_machines`` is the entry point. First everything whose address is fixed takes its place (gateways, the clients'
place, the floating IP, addresses written in the file), then each role counts up from its first address over what is
taken or reserved. Adding a worker therefore moves nobody else. Linear in the number of machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from rackbox.errors import Problem
from rackbox.roles import ROLE_FACTS, ROLES, RoleFacts

if TYPE_CHECKING:
    from rackbox.config import Config
    from rackbox.yamlfile import KeyPath

FLOATING_IP_OFFSET = 20
# Each role has 256 management addresses of its own, so that a new machine moves none of another role. Workers,
# being last, have all the rest.
MANAGEMENT_BLOCK = 256


def gateway_address(cidr: IPv4Network) -> IPv4Address:
    """Where the gateway machine stands unless told otherwise: the last address that a machine can have."""
    return cidr.broadcast_address - 1


def host_address(cidr: IPv4Network) -> IPv4Address:
    """Where the host (or the lab's namespace) stands, if it does: the first address."""
    return cidr.network_address + 1


def management_address(cidr: IPv4Network, role: RoleFacts, index: int) -> IPv4Address:
    """10.77.3.2 for the second master of 10.77.0.0/16: block by role, then the machine's number."""
    return cidr.network_address + (ROLES.index(role) + 1) * MANAGEMENT_BLOCK + index


def mac_address(lab: str, machine: str, network: str) -> str:
    """A MAC that is the same in every run: 02 (locally administered, unicast) and 40 bits of a hash."""
    digest = hashlib.sha256(f"{lab}/{machine}/{network}".encode()).hexdigest()
    return ":".join(["02", *(digest[at : at + 2] for at in range(0, 10, 2))])


@dataclass(slots=True)
class Segment:
    """One network's addresses and who has them."""

    name: str
    cidr: IPv4Network
    reserved: list[tuple[int, int]]
    owners: dict[int, str] = field(default_factory=dict)

    def refusal(self, address: IPv4Address) -> str:
        """Why nobody new can have ``address``, "" if somebody can."""
        here = f"{self.name} ({self.cidr})"
        if address not in self.cidr:
            return f"must be inside of {here}"
        if address == self.cidr.network_address:
            return f"must be a machine's address of {here}: this is the network's own"
        if address == self.cidr.broadcast_address:
            return f"must be a machine's address of {here}: this is the broadcast address"
        for first, last in self.reserved:
            if first <= int(address) <= last:
                return f"must be free: {IPv4Address(first)}-{IPv4Address(last)} of {here} is reserved"
        owner = self.owners.get(int(address))
        return f"must be free: in {here} this is {owner}" if owner else ""

    def take(self, address: IPv4Address, owner: str) -> str:
        """Note ``owner``; returns the refusal instead if there is one."""
        why_not = self.refusal(address)
        if not why_not:
            self.owners[int(address)] = owner
        return why_not

    def take_from(self, start: IPv4Address, names: list[str]) -> list[IPv4Address]:
        """The free addresses from ``start`` on, one for each name; fewer if there are no more."""
        found: list[IPv4Address] = []
        at, end = int(start), int(self.cidr.broadcast_address)
        while at < end and len(found) < len(names):
            jump = next((last + 1 for first, last in self.reserved if first <= at <= last), at)
            if jump == at and at not in self.owners:
                self.owners[at] = names[len(found)]
                found.append(IPv4Address(at))
            at = max(jump, at + 1) if jump == at else jump
        return found


@dataclass(frozen=True, slots=True)
class Placement:
    """``lab`` maps a machine's name to its address on its role's network (not the gateway, which stands on all)."""

    lab: Mapping[str, IPv4Address]
    management: Mapping[str, IPv4Address]
    gateways: Mapping[str, IPv4Address]
    floating_ip: IPv4Address | None
    client_network: str


def client_network(config: Config) -> str:
    """The network on which clients stand: as written, else the balancers', else the first."""
    if config.client_network is not None:
        return config.client_network
    home = ROLE_FACTS["lb"].network_of(config)
    return home if config.nodes.of("lb") is not None and home in config.networks else next(iter(config.networks), "")


def place_machines(config: Config) -> tuple[Placement, list[Problem]]:
    """Everybody's address and what was in the way. Needs networks and names that ``checks`` found good."""
    problems: list[Problem] = []
    segments = {
        name: Segment(name, network.cidr, sorted((int(a), int(b)) for a, b in network.reserved))
        for name, network in config.networks.items()
    }
    clients = client_network(config)
    gateways = _place_fixed(config, segments, clients, problems)
    floating_ip = _place_floating_ip(config, segments, problems)
    lab: dict[str, IPv4Address] = {}
    placed = [facts for facts in ROLES if facts.network_of(config) in segments and config.nodes.of(facts.role)]
    for facts in placed:
        _place_written(config, facts, segments[facts.network_of(config)], lab, problems)
    for facts in placed:
        _place_counted(config, facts, segments[facts.network_of(config)], lab, problems)
    management = _place_management(config, problems)
    return Placement(lab, management, gateways, floating_ip, clients), problems


def _place_fixed(
    config: Config, segments: Mapping[str, Segment], clients: str, problems: list[Problem]
) -> dict[str, IPv4Address]:
    gateways: dict[str, IPv4Address] = {}
    if clients in segments:
        segment = segments[clients]
        segment.owners[int(host_address(segment.cidr))] = "the clients' place"
    for name, segment in segments.items():
        wished = config.networks[name].gateway
        gateways[name] = wished or gateway_address(segment.cidr)
        why_not = segment.take(gateways[name], "the gateway")
        if why_not and wished:
            problems.append(config.problem(("networks", name, "gateway"), f"{why_not}; got {wished}"))
        elif why_not:
            text = f"must leave the gateway's address {gateways[name]} free, or name another by `gateway`"
            problems.append(config.problem(("networks", name, "reserved"), text))
    return gateways


def _place_floating_ip(config: Config, segments: Mapping[str, Segment], problems: list[Problem]) -> IPv4Address | None:
    lb = ROLE_FACTS["lb"]
    segment = segments.get(lb.network_of(config))
    if segment is None or lb.count_of(config.nodes.of("lb")) == 0:
        return None
    wished = config.balancer.floating_ip
    address = wished or segment.cidr.network_address + FLOATING_IP_OFFSET
    why_not = segment.take(address, "the floating IP")
    path: KeyPath = ("load_balancer", "floating_ip")
    if why_not and wished:
        problems.append(config.problem(path, f"{why_not}; got {address}"))
    elif why_not:
        problems.append(config.problem(path, f"must be given: the default, {address}, {why_not}; got nothing"))
    return address


def _place_written(
    config: Config, facts: RoleFacts, segment: Segment, lab: dict[str, IPv4Address], problems: list[Problem]
) -> None:
    nodes = config.nodes.of(facts.role)
    if nodes is None or nodes.addresses is None:
        return
    for index, (name, address) in enumerate(zip(facts.names_of(nodes), nodes.addresses, strict=False)):
        lab[name] = address
        why_not = segment.take(address, name)
        if why_not:
            path: KeyPath = ("nodes", facts.role, "addresses", index)
            problems.append(config.problem(path, f"{why_not}; got {address}"))


def _place_counted(
    config: Config, facts: RoleFacts, segment: Segment, lab: dict[str, IPv4Address], problems: list[Problem]
) -> None:
    nodes = config.nodes.of(facts.role)
    names = facts.names_of(nodes)
    if nodes is None or nodes.addresses is not None or not names:
        return
    start = nodes.first_address
    if start is not None:
        why_not = segment.refusal(start)
        if why_not:
            problems.append(config.problem(("nodes", facts.role, "first_address"), f"{why_not}; got {start}"))
            return
    else:
        # A network too small for the usual place is filled from its beginning.
        roomy = facts.offset + len(names) < segment.cidr.num_addresses - 1
        start = segment.cidr.network_address + (facts.offset if roomy or segment.cidr.num_addresses >= 256 else 1)
    found = segment.take_from(start, names)
    lab.update(zip(names, found, strict=False))
    if len(found) < len(names):
        text = (
            f"must be at most {len(found)}: {segment.name} ({segment.cidr}) has no more free addresses "
            f"from {start} on; got {len(names)}"
        )
        problems.append(config.problem(("nodes", facts.role, "count"), text))


def _place_management(config: Config, problems: list[Problem]) -> dict[str, IPv4Address]:
    cidr = config.management
    found: dict[str, IPv4Address] = {}
    if cidr.num_addresses <= (len(ROLES) + 1) * MANAGEMENT_BLOCK:
        return found  # ``checks`` says so
    for facts in ROLES:
        names = facts.names_of(config.nodes.of(facts.role))
        last_role = facts is ROLES[-1]
        top = int(cidr.broadcast_address) - int(management_address(cidr, facts, 1))
        room = max(top, 0) if last_role else min(max(top, 0), MANAGEMENT_BLOCK - 2)
        if len(names) > room:
            text = f"must be at most {room}: management ({cidr}) has no more addresses for the role; got {len(names)}"
            problems.append(config.problem(("nodes", facts.role, "count"), text))
            names = names[:room]
        found.update((name, management_address(cidr, facts, index)) for index, name in enumerate(names, 1))
    return found

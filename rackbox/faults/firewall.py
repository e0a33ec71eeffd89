"""Packets dropped inside a machine, by tables of our own: which can be put in and taken away whole. Pure, but for bash.

IP by address works with any provider, since it needs nothing of the network between the machines; ARP is dropped only
where a machine is to be cut off from everything. The management network is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from rackbox.topology import Node, Topology

TABLE = "rackbox_fault"
FAMILIES = ("inet", "arp")

REMOVE = "".join(f"nft delete table {family} {TABLE} 2>/dev/null || true\n" for family in FAMILIES)
"""Takes the tables away; prints and needs nothing."""

LIST = f"nft list tables | grep --count --word-regexp {TABLE} || true"
"""Prints how many of the tables there are."""


def drop_addresses(addresses: Sequence[IPv4Address]) -> str:
    """Bash: drop every packet from and to these addresses."""
    those = ", ".join(map(str, addresses))
    return _load(_table("inet", f"ip saddr {{ {those} }} drop", f"ip daddr {{ {those} }} drop"))


def drop_links(node: Node) -> str:
    """Bash: drop everything, ARP too, on every network card but the management network's."""
    cards = ", ".join(f'"{nic.network}"' for nic in node.nics[1:])
    rules = f"iifname {{ {cards} }} drop", f"oifname {{ {cards} }} drop"
    return _load(_table("inet", *rules) + _table("arp", *rules))


def lose_packets(addresses: Sequence[IPv4Address], percent: int) -> str:
    """Bash: drop that share of the packets from these addresses, at random."""
    those = ", ".join(map(str, addresses))
    return _load(_table("inet", f"ip saddr {{ {those} }} numgen random mod 100 < {percent} counter drop", ""))


def other_balancers(topology: Topology, name: str) -> tuple[IPv4Address, ...]:
    """The addresses by which the balancers know each other, without this one's."""
    return tuple(node.address for node in topology.by_role("lb") if node.name != name)


def _table(family: str, when_in: str, when_out: str) -> str:
    rules = {"input": when_in, "output": when_out}
    chains = "".join(
        f"  chain {hook} {{ type filter hook {hook} priority -300; policy accept; {rule}; }}\n"
        for hook, rule in rules.items()
        if rule
    )
    return f"table {family} {TABLE} {{\n{chains}}}\n"


def _load(ruleset: str) -> str:
    """One transaction: all of it, or nothing."""
    return f"{REMOVE}nft --file - <<'RULES'\n{ruleset}RULES\n"

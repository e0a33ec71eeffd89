"""Cut off: a machine is up and well, and part of the network is gone for it; packets are dropped inside of it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

from rackbox.errors import LabError
from rackbox.faults.base import GONE, Evidence, Fault, Site
from rackbox.faults.firewall import LIST, REMOVE, drop_addresses, drop_links, other_balancers
from rackbox.fencing import needs_fencing
from rackbox.machine import Machine
from rackbox.topology import Node, Topology

# One packet to each address, all at the same time; the addresses that answered. A first packet may wait for ARP.
_REACH = """\
for address in {addresses}; do
    (ping -c 1 -W {patience} -q "$address" >/dev/null 2>&1 && echo "$address") &
done
wait
"""
_PATIENCE_SECONDS = 0.3


def _peers(topology: Topology, node: Node) -> tuple[IPv4Address, ...]:
    return other_balancers(topology, node.name)


def _client(topology: Topology, node: Node) -> tuple[IPv4Address, ...]:
    address = topology.client_network.client
    return (address,) if address else ()


def _masters(topology: Topology, node: Node) -> tuple[IPv4Address, ...]:
    return tuple(master.address for master in topology.by_role("master") if master.name != node.name)


def _gateway(topology: Topology, node: Node) -> tuple[IPv4Address, ...]:
    gateway = topology.network(node.lab_nics[0].network).gateway
    return (gateway,) if gateway else ()


class CutOff(Fault):
    """``whom`` gives the addresses that a machine loses; None: all that it has, link and all."""

    def __init__(
        self, name: str, summary: str, whom: Callable[[Topology, Node], tuple[IPv4Address, ...]] | None = None
    ) -> None:
        self.name = name
        self.summary = summary
        self._whom = whom

    def inject(self, site: Site) -> None:
        def cut(machine: Machine) -> None:
            rules = drop_addresses(self._whom(site.lab.topology, machine.node)) if self._whom else ""
            machine.run(f"# inject {self.name}\n{rules or drop_links(machine.node)}")

        site.each(cut)

    def heal(self, site: Site) -> None:
        self.mend_inside(site, REMOVE)

    def evidence(self, site: Site) -> Evidence:
        """Per machine the addresses of those concerned that answer; with a table of ours in place, none may. A machine
        may have been switched off by its cluster meanwhile, because of this very fault."""
        topology, whom = site.lab.topology, self._whom or _gateway

        def look(machine: Machine) -> str:
            addresses = " ".join(map(str, whom(topology, machine.node)))
            script = _REACH.format(addresses=addresses, patience=_PATIENCE_SECONDS)
            try:
                said = machine.run(f"# evidence {self.name}\n{LIST}\n{script}").stdout.split()
            except LabError:
                if not needs_fencing(topology):
                    raise
                return GONE
            return f"tables: {said[0]}; answer: {' '.join(sorted(said[1:])) or 'none'}"

        return site.each(look)

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(
            str(seen).startswith("tables: 0;")
            and not str(seen).endswith(" none")
            and (after.get(name) == GONE or _is_cut(str(after.get(name))))
            for name, seen in before.items()
        )


def _is_cut(seen: str) -> bool:
    return seen.endswith("; answer: none") and not seen.startswith("tables: 0;")


CUT_OFFS = (
    CutOff("cut-off-from-peer", "packets of the other balancer dropped, both ways", _peers),
    CutOff("cut-off-from-client", "packets of the client dropped, both ways", _client),
    CutOff("cut-off-from-masters", "packets of the masters dropped, both ways", _masters),
    CutOff("cut-off", "all packets dropped, ARP too, on every network but management's"),
)

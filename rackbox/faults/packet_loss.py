"""Packet loss: of what one balancer sends to another, some does not arrive."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.firewall import LIST, REMOVE, lose_packets, other_balancers
from rackbox.machine import Machine

PERCENT = 5


class PacketLoss(Fault):
    name = "packet-loss"
    roles = ("lb",)
    summary = f"{PERCENT} % of the packets between the balancers lost, each way"

    def inject(self, site: Site) -> None:
        def lose(machine: Machine) -> None:
            peers = other_balancers(site.lab.topology, machine.node.name)
            machine.run(f"# inject {self.name}\n{lose_packets(peers, PERCENT)}")

        site.each(lose)

    def heal(self, site: Site) -> None:
        self.mend_inside(site, REMOVE)

    def evidence(self, site: Site) -> Evidence:
        """The rule in place is all there is to see: five packets in a hundred take their time."""
        return self.look_inside(site, LIST)

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(
            count == "0" and str(after.get(name, "")) not in ("", "0") for name, count in before.items()
        )

"""A planned switchover: the holder gives the floating IP away in good order, as one does before maintenance.

Pacemaker is told to move it, by a constraint that healing takes away again (the address then stays, since it is
sticky). keepalived is stopped: it says goodbye with priority 0 (RFC 9568, 5.2.3), and the other takes over at once.
"""

from __future__ import annotations

from rackbox.errors import LabError
from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.daemons import KEEPALIVED
from rackbox.topology import Topology

RESOURCE = "floating-ip"

# Returns when the address has left, or after 10 s.
_WAIT = """\
for _ in {{1..200}}; do
    [[ -n $(ip -4 -oneline address show to {address}/32) ]] || break
    sleep 0.05
done
"""
_CLEAR = f"""\
if systemctl is-active --quiet pacemaker.service; then
    if timeout 5 cibadmin --query --scope constraints | grep --fixed-strings 'id="cli-' >/dev/null; then
        timeout 10 crm_resource --resource {RESOURCE} --clear >/dev/null
    fi
fi
"""


class SwitchedOver(Fault):
    name = "switched-over"
    roles = ("lb",)
    summary = "the floating IP given to the other balancer in good order"
    stacks = ("pacemaker", "keepalived")

    def inject(self, site: Site) -> None:
        topology = site.lab.topology
        for name in site.names:
            move = _move(topology, name)
            self.break_inside(Site(site.lab, (name,)), move + _WAIT.format(address=_address(topology)), timeout=15.0)

    def heal(self, site: Site) -> None:
        self.mend_inside(site, _CLEAR if _stack(site.lab.topology) == "pacemaker" else KEEPALIVED.mend)

    def evidence(self, site: Site) -> Evidence:
        """Per machine whether it holds the address."""
        script = f"ip -4 -oneline address show to {_address(site.lab.topology)}/32"
        return {name: bool(text) for name, text in self.look_inside(site, script).items()}

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(held and after.get(name) is False for name, held in before.items())


def _move(topology: Topology, holder: str) -> str:
    if _stack(topology) != "pacemaker":
        return f"systemctl stop {KEEPALIVED.unit}\n"
    other = next((node.name for node in topology.by_role("lb") if node.name != holder), None)
    if other is None:
        raise LabError(f"{holder}: the floating IP has nowhere to go", "a lab with two balancers can do it")
    return f"crm_resource --resource {RESOURCE} --move --node {other} >/dev/null 2>&1\n"


def _stack(topology: Topology) -> str:
    return topology.load_balancer.ha if topology.load_balancer else ""


def _address(topology: Topology) -> str:
    if topology.load_balancer is None:
        raise LabError("the lab has no floating IP")
    return str(topology.load_balancer.floating_ip.address.ip)

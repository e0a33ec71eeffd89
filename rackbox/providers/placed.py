"""What providers share whose labs live in a place of their own (``rackbox.place``): networks, client, uplink, stand-in.

``PlacedProvider`` is their base: one bridge for each network, on which the client's place and this computer stand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rackbox.paths import LabPaths
from rackbox.place import Mount, Place, add_bridge, add_route, enter_argv, make_place
from rackbox.standin import open_stand_in, remove_stand_in
from rackbox.topology import Node, Topology
from rackbox.uplink import add_uplink, remove_uplink

RUNTIME = Path("/run/rackbox")


class PlacedProvider(ABC):
    """See ``rackbox.providers.Provider``; what is not here is the provider's own."""

    needs_root = True

    @abstractmethod
    def mounts(self, paths: LabPaths) -> Sequence[Mount]:
        """What the provider's programs find inside the place."""

    def make_networks(self, topology: Topology, paths: LabPaths) -> Place:
        """The place with one bridge for each network, routes, and the way out if the lab has one. Idempotent."""
        place = place_of(topology)
        client = topology.client_network
        remove_stand_in(place)
        make_place(place, mounts=self.mounts(paths), nameserver=str(client.gateway), domain=topology.domain)
        for network in topology.networks:
            prefix = network.cidr.prefixlen
            add_bridge(place, network.name, f"{network.client}/{prefix}" if network.client else None)
        for network in topology.lab_networks:
            if network is not client:
                add_route(place, str(network.cidr), str(client.gateway))
        if topology.uplink == "nat":
            add_uplink(place, topology)
        else:
            remove_uplink(place)
        return place

    def is_prepared(self, topology: Topology, paths: LabPaths) -> bool:
        return place_of(topology).exists()

    def volume_on_host(self, paths: LabPaths, node: Node, name: str) -> Path | None:
        return None

    def client_argv(self, topology: Topology, argv: Sequence[str]) -> list[str]:
        return enter_argv(place_of(topology), argv)

    def client_namespace(self, topology: Topology) -> Path | None:
        return place_of(topology).net_file

    def host_argv(self, topology: Topology, argv: Sequence[str]) -> list[str]:
        return enter_argv(place_of(topology), argv)

    def before_removal(self, topology: Topology, names: Sequence[str], paths: LabPaths) -> None:  # noqa: B027 - as below
        """What outlives a machine is none of Vagrant's."""

    def forget_machines(self, topology: Topology, paths: LabPaths) -> None:  # noqa: B027 - as below
        """All that there is of them is in the lab's own directory."""

    def hold_power(self, topology: Topology) -> None:  # noqa: B027 - there is nothing to do for most
        """As quick as it is."""

    def slow_down(self, topology: Topology, node: Node, paths: LabPaths) -> None:  # noqa: B027 - as above
        """No virtual machine: in the one run that was tried, an emulated one was not back within 360 s."""

    def share_alike(self, topology: Topology, paths: LabPaths) -> None:  # noqa: B027 - as above
        """They do."""

    def stand_in(self, topology: Topology, gateway: Node, paths: LabPaths) -> AbstractContextManager[None]:
        rules = paths.rendered / "nodes" / gateway.name / "files/etc/nftables.conf"
        ports = {port_name(gateway, number): nic for number, nic in enumerate(gateway.nics)}
        return open_stand_in(place_of(topology), topology, ports, rules.read_text())


def place_of(topology: Topology) -> Place:
    return Place(topology.lab, RUNTIME / topology.lab)


def port_name(node: Node, number: int) -> str:
    """The host-side name of a machine's NIC, at most 15 characters (IFNAMSIZ): readable where the name is short.

    No machine or network name has an underscore, so it cannot meet another link's name.
    """
    readable = f"{node.name}_{number}"
    return readable if len(readable) <= 15 else "v_" + node.nics[number].mac.replace(":", "")


def cut_links_script(node: Node) -> str:
    """Bash: take the machine's ports down, and fail unless they all are; those that are not there are down.

    No program is started: the power switch waits for this. What is down already is left alone: one would wait for the
    kernel's one lock on devices, which is held again and again while a machine that has just died is tidied away.
    """
    ports = " ".join(port_name(node, number) for number in range(len(node.nics)))
    return f"""\
is_up() {{ read -r flags 2>/dev/null </sys/class/net/$1/flags && ((flags & 1)); }}
for port in {ports}; do
    ! is_up $port || {{ echo $((flags & ~1)) >/sys/class/net/$port/flags; }} 2>/dev/null || true
done
for port in {ports}; do ! is_up $port || exit 1; done"""


KILL_SCRIPT = """\
if [[ $pid =~ ^[1-9][0-9]*$ ]] && kill -KILL "$pid" 2>/dev/null; then
    for left in {1000..0}; do
        read -r _ _ state _ 2>/dev/null </proc/$pid/stat || break
        [ "$state" != Z ] || break
        [ $left -gt 0 ] || exit 1
        sleep 0.005
    done
fi"""
"""Bash: kill the process ``$pid``, if that is one; ends once it does not run any more, fails if it does after 5 s."""

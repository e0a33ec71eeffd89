"""The networks of a lab that this computer stands on, as VirtualBox's host-only networks, and the routes to the others.

They are this computer's own: two labs that run at the same time must not have the same. Entry points:
``add_interfaces``, ``remove_interfaces``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rackbox.errors import CommandFailed, LabError
from rackbox.providers.virtualbox_settings import host_only
from rackbox.run import Result, run
from rackbox.topology import Network, Topology

NOTE = "host-only"
"""The file in a lab's place that names the interfaces that were made for it."""

Manage = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class Interface:
    """A host-only interface of VirtualBox's, and this computer's address there."""

    name: str
    address: str
    netmask: str


def parse_interfaces(text: str) -> list[Interface]:
    """`list hostonlyifs`: a paragraph each, ``Name: value`` a line."""
    found = []
    for paragraph in text.split("\n\n"):
        words = dict(re.findall(r"^(\w+): +(\S+)$", paragraph, re.MULTILINE))
        if "Name" in words:
            found.append(Interface(words["Name"], words.get("IPAddress", ""), words.get("NetworkMask", "")))
    return found


def add_interfaces(topology: Topology, place: Path, manage: Manage) -> None:
    """Make those that are not there, and the routes. Idempotent."""
    for network in host_only(topology):
        found = _find(network, manage)
        if found is None:
            _add(topology, network, place, manage)
        elif found.name not in _noted(place):
            _refuse_shared(topology, network, found, place)
        _set_up(network, manage)
    client = topology.client_network
    for network in topology.lab_networks:
        if network is not client:
            run(["ip", "route", "replace", str(network.cidr), "via", str(client.gateway)], timeout=10)


def remove_interfaces(topology: Topology, place: Path, manage: Manage) -> None:
    """Take away what was made; one that was there before stays. Idempotent."""
    client = topology.client_network
    for network in topology.lab_networks:
        if network is not client:
            run(["ip", "route", "del", str(network.cidr), "via", str(client.gateway)], timeout=10, check=False)
    made = _noted(place)
    for network in host_only(topology):
        if (found := _find(network, manage)) and found.name in made:
            manage("hostonlyif", "remove", found.name)
    (place / NOTE).unlink(missing_ok=True)


def _add(topology: Topology, network: Network, place: Path, manage: Manage) -> None:
    said = manage("hostonlyif", "create").stdout
    match = re.search(r"Interface '(\S+)' was successfully created", said)
    if match is None:
        raise LabError(f"VirtualBox made no host-only network; it said: {said.strip()}")
    name = match[1]
    try:
        manage("hostonlyif", "ipconfig", name, "--ip", str(network.client), "--netmask", str(network.netmask))
    except CommandFailed as error:
        manage("hostonlyif", "remove", name, check=False)
        hint = f"`./lab doctor --provider virtualbox --lab FILE` prints what VirtualBox must allow for {topology.lab}"
        raise CommandFailed(error.message, hint) from error
    # The gateway answers there, nobody else. VirtualBox may have given a new network a server of its own.
    manage("dhcpserver", "remove", f"--netname=HostInterfaceNetworking-{name}", check=False)
    with (place / NOTE).open("a") as stream:
        stream.write(f"{name}\n")


def _set_up(network: Network, manage: Manage) -> None:
    """VirtualBox makes its interfaces again after a reboot, but gives them no address before a machine needs it."""
    found = _find(network, manage)
    if found is None:
        raise LabError(f"VirtualBox has no host-only network with {network.client}, which it was told to make")
    said = run(["ip", "-json", "-4", "address", "show", "dev", found.name], timeout=10, check=False)
    has = {row["local"] for link in json.loads(said.stdout or "[]") for row in link.get("addr_info", [])}
    if str(network.client) not in has:
        manage("hostonlyif", "ipconfig", found.name, "--ip", found.address, "--netmask", found.netmask)
    run(["ip", "link", "set", "dev", found.name, "up"], timeout=10)


def _refuse_shared(topology: Topology, network: Network, found: Interface, place: Path) -> None:
    for note in place.parent.glob(f"*/{NOTE}"):
        if found.name in _noted(note.parent):
            raise LabError(
                f"network {network.cidr} ({network.name}) is lab {note.parent.name}'s while that is up",
                f"take it down, or give lab {topology.lab} other networks (networks, management)",
            )


def _find(network: Network, manage: Manage) -> Interface | None:
    wanted = (str(network.client), str(network.netmask))
    interfaces = parse_interfaces(manage("list", "hostonlyifs").stdout)
    return next((item for item in interfaces if (item.address, item.netmask) == wanted), None)


def _noted(place: Path) -> set[str]:
    with suppress(FileNotFoundError):
        return set((place / NOTE).read_text().split())
    return set()

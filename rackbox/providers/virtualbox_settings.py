"""What the Vagrantfile says of a virtual machine to VirtualBox, as data: ``machine_settings``; and where its disks are.

Linked clones of the box. Management is a host-only network, on which Vagrant talks to the machines: its addresses are
known in advance, so no port is forwarded; VirtualBox's own NAT card, which Vagrant insists on as the first, gets no
address inside. The clients' network is host-only, too (this computer is the client); every other one is an internal
network of the lab's. DHCP is the gateway's.

The seed is a hard disk: Debian 12's cloud kernel knows no CD-ROM on such a machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rackbox.ovf import CONTROLLER
from rackbox.paths import LabPaths
from rackbox.templating import Symbol, VagrantSetting, VagrantValue
from rackbox.topology import Network, Node, Topology, Volume


def machine_name(lab: str, name: str) -> str:
    """What a machine is called in VirtualBox, where all labs' are."""
    return f"rackbox-{lab}-{name}"


def names_of(lab: str, listed: Iterable[str]) -> frozenset[str]:
    """The lab's machines among VirtualBox's names. No machine of a lab has a hyphen in its name; labs may."""
    parts = (name.rpartition("-") for name in listed)
    return frozenset(last for first, _, last in parts if first == f"rackbox-{lab}")


def machine_settings(topology: Topology, node: Node, paths: LabPaths) -> tuple[VagrantSetting, ...]:
    """The machine's lines. Pure."""
    settings = [
        VagrantSetting("vm.network", (Symbol("private_network"),), _network(topology, node, number))
        for number in range(len(node.nics))
    ]
    settings += [
        # Vagrant would forward a port of the NAT card, which has no address inside.
        VagrantSetting("ssh.host=", (str(node.management.address.ip),)),
        VagrantSetting("ssh.port=", (22,)),
        VagrantSetting(
            "vm.network",
            (Symbol("forwarded_port"),),
            {"guest": 22, "host": 2222, "host_ip": "127.0.0.1", "id": "ssh", "disabled": True},
        ),
        VagrantSetting("name=", (machine_name(topology.lab, node.name),)),
        VagrantSetting("cpus=", (node.cpus,)),
        VagrantSetting("memory=", (node.memory_mib,)),
        VagrantSetting("linked_clone=", (True,)),
        VagrantSetting("gui=", (False,)),
        VagrantSetting("check_guest_additions=", (False,)),
        VagrantSetting("default_nic_type=", ("virtio",)),  # the box's kernel knows no other
    ]
    settings += [
        _modify("--uart1", "0x3f8", "4"),
        _modify("--uartmode1", "file", str(console_of(paths, node))),
        _modify("--rtcuseutc", "on"),
        _modify("--groups", f"/rackbox/{topology.lab}"),
    ]
    disks = [seed_disk(paths, node), *(own_disk(paths, node, volume) for volume in node.own_disks)]
    settings += [_attach(port, disk) for port, disk in enumerate(disks, 1)]
    return tuple(settings)


def console_of(paths: LabPaths, node: Node) -> Path:
    """What is written to the machine's serial console."""
    return paths.logs / "console" / f"{node.name}.log"


def seed_disk(paths: LabPaths, node: Node) -> Path:
    """The seed (VDI)."""
    return paths.machines / node.name / "seed.vdi"


def own_disk(paths: LabPaths, node: Node, volume: Volume) -> Path:
    """A volume's own disk (VDI), which is there before the machine is."""
    return paths.machines / node.name / f"{volume.name}.vdi"


def host_only(topology: Topology) -> tuple[Network, ...]:
    """The networks on which this computer stands: VirtualBox must be allowed to use them (networks.conf)."""
    return tuple(network for network in topology.networks if network.client is not None)


def _network(topology: Topology, node: Node, number: int) -> dict[str, VagrantValue]:
    nic = node.nics[number]
    network = topology.network(nic.network)
    common: dict[str, VagrantValue] = {
        "adapter": number + 2,
        "mac": nic.mac.replace(":", ""),
        "auto_config": False,  # cloud-init's business
        "nic_type": "virtio",
    }
    if network in host_only(topology):
        address = {"ip": str(nic.address.ip), "netmask": str(network.netmask)}
        return {**address, **common}
    return {**common, "virtualbox__intnet": f"rackbox-{topology.lab}-{network.name}", "ip": str(nic.address.ip)}


def attach_words(port: int, medium: str) -> tuple[str, ...]:
    """VBoxManage's words behind `storageattach NAME`: ``medium`` is a file, or none."""
    place = ("--storagectl", CONTROLLER, "--port", str(port), "--device", "0")
    return (*place, "--type", "hdd", "--medium", medium)


def _attach(port: int, disk: Path) -> VagrantSetting:
    return VagrantSetting("customize", (("storageattach", Symbol("id"), *attach_words(port, str(disk))),))


def _modify(*words: str) -> VagrantSetting:
    return VagrantSetting("customize", (("modifyvm", Symbol("id"), *words),))

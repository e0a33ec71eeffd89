"""What a lab is to VirtualBox: the lines of its Vagrantfile. It can be rendered and looked at, not booted yet.

Linked clones of the box. Management is a host-only network, on which Vagrant talks to the machines: its addresses are
known in advance, so no port is forwarded; VirtualBox's own NAT card, which Vagrant insists on as the first, gets no
address inside. The clients' network is host-only, too (this computer is the client); every other one is an internal
network of the lab's. DHCP is the gateway's: VirtualBox's own servers are to be off. VBoxManage is not safe in parallel,
so Vagrant makes machines one after the other; they provision themselves at the same time all the same.
"""

from __future__ import annotations

from pathlib import Path

from rackbox.ovf import CONTROLLER
from rackbox.paths import LabPaths
from rackbox.providers import CLUSTERS, IN_PLACE, Capability
from rackbox.templating import Symbol, VagrantSetting, VagrantValue
from rackbox.topology import Network, Node, Topology, Volume

CAPABILITIES = (
    Capability("boots without virtualisation", False, "needs VT-x or AMD-V, and a kernel module"),
    Capability("LVM volumes", True, "a logical volume each; they grow live"),
    Capability("disks of their own", True, "Gluster's bricks: XFS in a thin pool; disks do not grow"),
    Capability("own kernel modules", True, "a kernel of its own"),
    Capability("power cut", True, "links cut first, then powered off"),
    Capability("processes frozen", False, "the whole machine is paused instead"),
    Capability("whole machine paused", True, "its kernel, too: it answers nothing"),
    Capability("durability after a power cut", True, "but for a crash of this computer itself"),
    Capability("snapshots while it runs", False, "VirtualBox can; rackbox does not yet"),
    Capability(IN_PLACE, False, "take the lab down and up to use a new box"),
    Capability(CLUSTERS, False, "no clusters yet: lxc has them"),
)
SEED = "seed.iso"


def vagrant_settings(topology: Topology, node: Node, paths: LabPaths) -> tuple[VagrantSetting, ...]:
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
        VagrantSetting("name=", (f"rackbox-{topology.lab}-{node.name}",)),
        VagrantSetting("cpus=", (node.cpus,)),
        VagrantSetting("memory=", (node.memory_mib,)),
        VagrantSetting("linked_clone=", (True,)),
        VagrantSetting("gui=", (False,)),
        VagrantSetting("check_guest_additions=", (False,)),
        VagrantSetting("default_nic_type=", ("virtio",)),  # the box's kernel knows no other
    ]
    console = str(paths.logs / "console" / f"{node.name}.log")
    settings += [
        _modify("--uart1", "0x3f8", "4"),
        _modify("--uartmode1", "file", console),
        _modify("--rtcuseutc", "on"),
        _modify("--groups", f"/rackbox/{topology.lab}"),
    ]
    settings.append(_attach(1, "dvddrive", str(paths.rendered / "nodes" / node.name / SEED)))
    settings += [
        _attach(port, "hdd", str(own_disk(paths, node, volume))) for port, volume in enumerate(node.own_disks, 2)
    ]
    return tuple(settings)


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


def _attach(port: int, kind: str, medium: str) -> VagrantSetting:
    place = ("--storagectl", CONTROLLER, "--port", str(port), "--device", "0")
    return VagrantSetting("customize", (("storageattach", Symbol("id"), *place, "--type", kind, "--medium", medium),))


def _modify(*words: str) -> VagrantSetting:
    return VagrantSetting("customize", (("modifyvm", Symbol("id"), *words),))

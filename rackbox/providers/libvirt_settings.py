"""What the Vagrantfile says of a virtual machine to vagrant-libvirt, as data: ``machine_settings``."""

from __future__ import annotations

import uuid
from pathlib import Path

from rackbox.providers.libvirt_disks import disk_targets, own_disk_name, seed_name
from rackbox.providers.placed import port_name
from rackbox.templating import Symbol, VagrantSetting
from rackbox.topology import Node, Topology, Volume

EMULATED_CPU = "Westmere"
"""Named, because libvirt 9 refuses `max` without KVM. It has the AES instructions, which QEMU hands to this computer's
own; emulated one by one, TLS would take many times longer."""


def machine_settings(topology: Topology, node: Node, console: Path, *, kvm: bool) -> tuple[VagrantSetting, ...]:
    """``console`` is the file to which its serial console is written; without ``kvm`` it is emulated."""
    cpu = [("cpu_mode=", "host-passthrough")] if kvm else []
    if not kvm:
        cpu = [("cpu_mode=", "custom"), ("cpu_model=", EMULATED_CPU)]
    plain: list[tuple[str, str | int | bool]] = [
        ("driver=", "kvm" if kvm else "qemu"),
        ("machine_type=", "q35"),
        *cpu,
        ("cpus=", node.cpus),
        ("memory=", node.memory_mib),
        ("default_prefix=", ""),
        ("uuid=", str(uuid.uuid5(uuid.NAMESPACE_URL, f"rackbox:{topology.lab}:{node.management.mac}"))),
        # Management is the first of our own networks, not one of vagrant-libvirt's.
        ("mgmt_attach=", False),
        ("nic_model_type=", "virtio"),
        ("graphics_type=", "none"),
    ]
    if node.disk_mib:
        plain.append(("machine_virtual_size=", node.disk_mib // 1024))
    return (
        *(_network(topology, node, number) for number in range(len(node.nics))),
        *(VagrantSetting(method, (value,)) for method, value in plain),
        VagrantSetting("disk_driver", options={"cache": "unsafe"}),
        VagrantSetting("random", options={"model": "random"}),
        VagrantSetting("serial", options={"type": "file", "source": {"path": str(console)}}),
        # Found in the pool under that name, and left there: vagrant-libvirt would make an empty one.
        VagrantSetting(
            "storage",
            (Symbol("file"),),
            {
                "path": seed_name(node),
                "type": "raw",
                "device": "vdz",
                "bus": "virtio",
                "size": "1M",
                "cache": "unsafe",
                "allow_existing": True,
            },
        ),
        *(_own_disk(node, volume, target) for target, volume in disk_targets(node)),
    )


def _own_disk(node: Node, volume: Volume, target: str) -> VagrantSetting:
    """Made before the machine is, and left there: what is on it outlives the machine."""
    options: dict[str, str | bool] = {
        "path": own_disk_name(node, volume),
        "type": "qcow2",
        "device": target,
        "bus": "virtio",
        "size": f"{volume.disk_mib}M",
        "cache": "unsafe",
        "allow_existing": True,
    }
    return VagrantSetting("storage", (Symbol("file"),), options)


def _network(topology: Topology, node: Node, number: int) -> VagrantSetting:
    nic = node.nics[number]
    return VagrantSetting(
        "vm.network",
        (Symbol("private_network"),),
        {
            "mac": nic.mac,
            "auto_config": False,  # cloud-init's business
            "libvirt__network_name": nic.network,
            "libvirt__iface_name": port_name(node, number),
            "libvirt__dhcp_enabled": False,
            "libvirt__always_destroy": False,
        },
    )

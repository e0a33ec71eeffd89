"""The roles a machine can have, as data: how many, where, how big, and what is kept on volumes of their own.

Everything that a role has by default is said here once; the config's keys, the plan and the health check follow. A new
role is one more entry here and a directory of hooks, ``provision/<role>/`` (and its packages in the boxes' var files).
Imports nothing of rackbox at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rackbox.config import Config, RoleNodes


BOX_VOLUMES = {
    "root": "/",
    "usr": "/usr",
    "var": "/var",
    "opt": "/opt",
    "tmp": "/tmp",  # noqa: S108 - a volume of its own inside of machines
    "home": "/home",
}
"""The volumes that a box of virtual machines is laid out on, and where they are mounted."""
BOX_DISK_MIB = 32 * 1024
"""How large such a box's disk is."""
_LEAST_SPARE_MIB = 64


@dataclass(frozen=True, slots=True)
class DefaultVolume:
    """``own_disk``: where disks can be had, it lies on one of its own, in a thin pool."""

    name: str
    mount: str
    size_mib: int
    own_disk: bool = False

    def disk_mib(self, size_mib: int) -> int:
        """The disk for a volume of that size: whole GiB, with room for the pool's metadata; 0 where it has none."""
        spare = max(_LEAST_SPARE_MIB, size_mib // 50)
        return -(-(size_mib + spare) // 1024) * 1024 if self.own_disk else 0


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """``network`` is where the role stands unless told otherwise ("" = on every network); its first machine has the
    network's address + ``offset``. ``rule`` says in words which counts ``allows`` lets pass. ``summary`` is what its
    key in a config is for. ``balanced``: the floating IP may have services whose backends are these machines.
    ``cluster_volumes`` come on top where the lab has Kubernetes."""

    role: str
    count: int
    network: str
    offset: int
    cpus: int
    memory_mib: int
    rule: str
    allows: Callable[[int], bool]
    summary: str
    balanced: bool = False
    volumes: tuple[DefaultVolume, ...] = ()
    cluster_volumes: tuple[DefaultVolume, ...] = ()

    def volumes_of(self, *, cluster: bool) -> tuple[DefaultVolume, ...]:
        """Its machines' volumes; ``cluster``: in a lab with Kubernetes."""
        return self.volumes + (self.cluster_volumes if cluster else ())

    def count_of(self, nodes: RoleNodes | None) -> int:
        """How many machines ``nodes`` asks for: by number, by names, by addresses, or as many as usual."""
        if nodes is None:
            return 0
        if nodes.count is not None:
            return nodes.count
        named = nodes.names if nodes.names is not None else nodes.addresses
        return self.count if named is None else len(named)

    def names_of(self, nodes: RoleNodes | None) -> list[str]:
        """Their names: as given, else ``master1`` …; the gateway, being the only one, has no number."""
        if nodes is not None and nodes.names is not None:
            return list(nodes.names)
        count = self.count_of(nodes)
        return [self.role] if self.role == "gateway" and count == 1 else [f"{self.role}{n + 1}" for n in range(count)]

    def network_of(self, config: Config) -> str:
        """The network on which the role stands, "" for all of them."""
        nodes = config.nodes.of(self.role)
        return self.network if nodes is None or nodes.network is None else nodes.network


# In the order in which they help each other up; it is also the order of the management network's blocks.
ROLES: tuple[RoleFacts, ...] = (
    RoleFacts(
        role="gateway",
        count=1,
        network="",
        offset=0,
        cpus=1,
        memory_mib=384,
        rule="exactly 1 (DHCP, DNS and NAT of the whole lab)",
        allows=lambda count: count == 1,
        summary="DHCP, DNS, NAT and routes of the lab: exactly one, always.",
    ),
    RoleFacts(
        role="lb",
        count=2,
        network="dmz",
        offset=21,
        cpus=1,
        memory_mib=512,
        rule="exactly 2 (they are a pair; or leave the role out)",
        allows=lambda count: count in (0, 2),
        summary="Load balancers: a pair that shares the floating IP.",
    ),
    RoleFacts(
        role="master",
        count=3,
        network="mast",
        offset=11,
        cpus=2,
        memory_mib=2048,
        rule="odd for etcd (1, 3, 5, …: an even member adds no failure that it survives)",
        allows=lambda count: count == 0 or count % 2 == 1,
        summary="etcd and the Kubernetes control plane: an odd number.",
        balanced=True,
        volumes=(DefaultVolume("etcd", "/var/lib/etcd", 2048),),
        cluster_volumes=(DefaultVolume("containerd", "/var/lib/containerd", 8192),),
    ),
    RoleFacts(
        role="gluster",
        count=3,
        network="glus",
        offset=11,
        cpus=1,
        memory_mib=512,
        rule="a multiple of 3 (each file is kept three times)",
        allows=lambda count: count % 3 == 0,
        summary="Storage: a multiple of three.",
        balanced=True,
        volumes=(DefaultVolume("brick", "/srv/brick", 4096, own_disk=True),),
    ),
    RoleFacts(
        role="worker",
        count=2,
        network="node",
        offset=131,
        cpus=2,
        memory_mib=2048,
        rule="0 or more",
        allows=lambda count: True,
        summary="Where the containers run.",
        balanced=True,
        volumes=(DefaultVolume("containerd", "/var/lib/containerd", 8192),),
    ),
)

ROLE_FACTS = {facts.role: facts for facts in ROLES}

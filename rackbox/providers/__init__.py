"""Providers: what runs the machines. One file each, one line in ``PROVIDERS``.

A provider answers: can it run here, and if not, why; what it adds to the Vagrantfile; how the lab's place (networks,
client) is made and taken away; how a machine's power is pulled. It is not asked what the lab is: that is the topology,
the same for every provider.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rackbox.box import Box
from rackbox.errors import LabError
from rackbox.paths import LabPaths
from rackbox.templating import VagrantSetting
from rackbox.topology import Node, Topology


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that a provider can or cannot do; ``note`` says what that means for the user."""

    name: str
    available: bool
    note: str


IN_PLACE = "renewal in place"
"""The capability that `up --renew` needs."""

CLUSTERS = "Kubernetes"
"""The capability without which a lab with a cluster cannot be booted."""


class Provider(Protocol):
    """See the module's docstring. Methods that act are idempotent."""

    @property
    def name(self) -> str: ...

    @property
    def needs_root(self) -> bool:
        """Whether only root can act on its machines, or talk to them."""
        ...

    @property
    def capabilities(self) -> tuple[Capability, ...]: ...

    @property
    def patience(self) -> float:
        """How many times longer than in a container things may take inside its machines: the factor of every limit."""
        ...

    @property
    def remark(self) -> str:
        """What whoever boots a lab must know of how it will run here; "" where there is nothing to say."""
        ...

    @property
    def seed_in_guest(self) -> str:
        """The directory in which a running machine sees its seed as it is on this computer; "" where it does not."""
        ...

    def vagrant_settings(
        self, topology: Topology, node: Node, paths: LabPaths, release: Path | None = None
    ) -> tuple[VagrantSetting, ...]:
        """The provider's lines for one machine in the Vagrantfile. ``release`` is the directory that the nodes of a
        cluster have, to be read only, at ``release.RELEASE_DIRECTORY``. Pure."""
        ...

    def prepare(self, topology: Topology, paths: LabPaths) -> None:
        """Make the place the machines live in: namespaces, bridges, mounts."""
        ...

    def is_prepared(self, topology: Topology, paths: LabPaths) -> bool: ...

    def remove(self, topology: Topology, paths: LabPaths) -> None:
        """Take away everything that ``prepare`` made, and every process that is left in it."""
        ...

    def client_argv(self, topology: Topology, argv: Sequence[str]) -> list[str]:
        """``argv`` wrapped to run at the client's place."""
        ...

    def client_namespace(self, topology: Topology) -> Path | None:
        """The network namespace that the client's place is in; None where clients stand on the host itself, which then
        needs no forwarders."""
        ...

    def host_argv(self, topology: Topology, argv: Sequence[str]) -> list[str]:
        """``argv`` wrapped to run where Vagrant and the management network are."""
        ...

    def existing(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        """Names of the machines that have been created, running or not."""
        ...

    def running(self, topology: Topology, paths: LabPaths) -> frozenset[str]: ...

    def box_versions(self, topology: Topology, paths: LabPaths) -> dict[str, str]:
        """The version of the box that each created machine stands on, by the machine's name."""
        ...

    def stand_in(self, topology: Topology, gateway: Node, paths: LabPaths) -> AbstractContextManager[None]:
        """While it is open, something else forwards the lab's packets at the gateway's addresses, and the gateway is
        cut off from the lab's networks: it can be made anew without anybody noticing."""
        ...

    def is_box_whole(self, box: Box, installed: Path) -> bool:
        """Whether a box, as Vagrant has it installed, can be booted from; False: it is to be installed again. Raises
        ``LabError`` where that would take the ground from under machines that run."""
        ...

    def take_box(self, topology: Topology, box: Box, installed: Path, paths: LabPaths) -> None:
        """Have machines that are made from now on find ``box``, which Vagrant has installed."""
        ...

    def before_boot(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        """Put right what Vagrant's provider leaves behind on a machine that is stopped, and lay what the machine takes
        along (its archive in ``paths.kept``) into the root of one that is about to be made."""
        ...

    def before_removal(self, topology: Topology, names: Sequence[str], paths: LabPaths) -> None:
        """Take out of machines that Vagrant is about to remove what is to outlive them: disks of their volumes."""
        ...

    def forget_machines(self, topology: Topology, paths: LabPaths) -> None:
        """Remove what is left of the lab's machines outside of its directory, which is about to go. The lab may have
        been kept, or this computer been booted since: nothing needs to be prepared."""
        ...

    def fit_disks(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        """Have a running machine's disks be as large as the topology has them; what is to follow inside is its hooks'
        affair. Nothing is made smaller."""
        ...

    def power_off(self, topology: Topology, node: Node) -> None:
        """Links cut first, then killed: nothing says goodbye. It can be powered on again afterwards."""
        ...

    def cut_power(self, topology: Topology, node: Node) -> None:
        """The same, but returns as soon as nothing of the machine runs any more: what is left to tidy up, such as its
        network devices, may take a moment yet (``power_off`` waits for it)."""
        ...

    def hold_power(self, topology: Topology) -> None:
        """Have ``cut_power`` be as quick as it can be. The lab's power switch asks once, before it starts a thread."""
        ...

    def power_on(self, topology: Topology, node: Node) -> bool:
        """Whether it was off."""
        ...

    def slow_down(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        """Leave a running machine less of the processors than the others, where that helps (``rackbox.shares``)."""
        ...

    def share_alike(self, topology: Topology, paths: LabPaths) -> None:
        """All machines have the same share of the processors again."""
        ...

    def freeze(self, topology: Topology, node: Node) -> None:
        """Stop all of a machine's processes, or the machine itself where that can be done."""
        ...

    def thaw(self, topology: Topology, node: Node) -> None:
        """Harmless on a machine that is not frozen, or off."""
        ...

    def frozen(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        """Names of the machines that are frozen; they count as running, too."""
        ...

    def save_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path) -> None:
        """Write a frozen machine's memory and disk into ``directory``; it is off afterwards."""
        ...

    def load_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path, *, disk: bool) -> None:
        """Bring it back from there, frozen; with ``disk`` its disk, too, as it was then. A machine that runs is left
        alone, and so is one of which nothing is there."""
        ...

    def volume_on_host(self, paths: LabPaths, node: Node, name: str) -> Path | None:
        """Where a machine's volume is a directory of this computer; None where it is on a disk of the machine's."""
        ...

    def disk_usage_mib(self, paths: LabPaths) -> int:
        """What the machines' disks take up now."""
        ...

    def console_tail(self, node: Node, paths: LabPaths, lines: int) -> list[str]:
        """The last lines of the machine's console, for an error message; empty where there is none."""
        ...

    def facts(self) -> dict[str, str]:
        """What stands beside every figure: versions, cgroup view, kernel."""
        ...


def _lxc() -> Provider:
    from rackbox.providers.lxc import LxcProvider

    return LxcProvider()


def _libvirt() -> Provider:
    from rackbox.providers.libvirt import LibvirtProvider

    return LibvirtProvider()


def _virtualbox() -> Provider:
    from rackbox.providers.virtualbox import VirtualboxProvider

    return VirtualboxProvider()


PROVIDERS: dict[str, Callable[[], Provider]] = {"lxc": _lxc, "libvirt": _libvirt, "virtualbox": _virtualbox}

AUTO_ORDER = ("libvirt+kvm", "lxc", "libvirt")
"""``provider: auto`` takes the first of these that works. What stands behind a + is asked for beside the provider
itself: emulated machines come last, and VirtualBox is a user's own, taken only by name."""

UNASKED = "lxc"
"""What ``auto`` is taken for where nothing is asked: in a plan, and by commands on a lab that is not up."""


class NoSuchProvider(LabError):
    """A provider that this release does not have."""


def open_provider(name: str) -> Provider:
    """The provider of that name. For ``auto`` ask ``prove_provider`` first which one works."""
    name = UNASKED if name == "auto" else name
    if name in PROVIDERS:
        return PROVIDERS[name]()
    hint = "set `provider: auto`, or boot it with --provider lxc"
    raise NoSuchProvider(f"provider: must be auto or one of {', '.join(PROVIDERS)}; got {name}", hint)


def prove_provider(name: str, works: Callable[[str], bool], order: Sequence[str] = AUTO_ORDER) -> str:
    """For ``auto`` the first of ``order`` that ``works``: asked, not assumed. When none does, the last of them: the
    preflight that every `up` begins with says what it lacks (so the last is not asked twice)."""
    if name != "auto":
        return name
    return next((candidate for candidate in order[:-1] if works(candidate)), order[-1]).partition("+")[0]

"""Virtual machines of VirtualBox, which needs a processor's virtualisation and a kernel module of its own.

Vagrant creates and starts the machines, one after the other, since VBoxManage is not safe in parallel; each provisions
itself meanwhile. Pulling the power, putting it back and pausing go to VBoxManage directly.

This computer is the client: the networks that it stands on are host-only ones, in its own network namespace. What runs
at the client's place sees a /etc/resolv.conf of its own. VirtualBox is the calling user's: his machines are listed
beside the lab's, which are in a group of the lab's name.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from rackbox.box import Box, sha256_of
from rackbox.errors import CommandFailed, LabError, MissingTool
from rackbox.locks import hold_lock
from rackbox.ovf import DISK_FILE
from rackbox.paths import LabPaths
from rackbox.providers import CLUSTERS, IN_PLACE, Capability
from rackbox.providers.placed import RUNTIME
from rackbox.providers.virtualbox_networks import add_interfaces, remove_interfaces
from rackbox.providers.virtualbox_settings import (
    attach_words,
    console_of,
    machine_name,
    machine_settings,
    names_of,
    own_disk,
    seed_disk,
)
from rackbox.run import Result, describe, run
from rackbox.seed import write_seed
from rackbox.templating import VagrantSetting
from rackbox.topology import Node, Topology

_MIB = 1 << 20
_OFF = ("poweroff", "aborted", "saved", "")
_OFF_SECONDS = 20.0
_START_SECONDS = 120.0
_LOOK_SECONDS = 5.0
_ASKED_AGAIN = 3
_AT_CLIENT = """\
resolv=$(readlink -f /etc/resolv.conf || true)
if [ -f "$resolv" ]; then mount --bind "$0" "$resolv"; fi
exec "$@"
"""


class VirtualboxProvider:
    """See ``rackbox.providers.Provider``."""

    name = "virtualbox"
    needs_root = True
    patience = 1.0
    remark = ""
    seed_in_guest = ""

    capabilities = (
        Capability("boots without virtualisation", False, "needs VT-x or AMD-V, and a kernel module"),
        Capability("LVM volumes", True, "a logical volume each; they grow live"),
        Capability("disks of their own", True, "Gluster's bricks: XFS in a thin pool; disks grow at the next power-on"),
        Capability("own kernel modules", True, "a kernel of its own"),
        Capability("power cut", True, "links cut first, then powered off"),
        Capability("processes frozen", False, "the whole machine is paused instead"),
        Capability("whole machine paused", True, "its kernel, too: it answers nothing"),
        Capability("durability after a power cut", True, "but for a crash of this computer itself"),
        Capability("snapshots while it runs", False, "VirtualBox can; rackbox does not yet"),
        Capability(IN_PLACE, False, "take the lab down and up to use a new box"),
        Capability(CLUSTERS, False, "no clusters yet: lxc has them"),
    )

    def vagrant_settings(
        self, topology: Topology, node: Node, paths: LabPaths, release: Path | None = None
    ) -> tuple[VagrantSetting, ...]:
        return machine_settings(topology, node, paths)

    def prepare(self, topology: Topology, paths: LabPaths) -> None:
        _refuse(topology)
        console_of(paths, topology.nodes[0]).parent.mkdir(parents=True, exist_ok=True)
        place = _place(topology)
        place.mkdir(parents=True, exist_ok=True)
        with hold_lock(RUNTIME / "virtualbox.lock"):
            add_interfaces(topology, place, _manage)
        client = topology.client_network
        _resolv(topology).write_text(f"nameserver {client.gateway}\nsearch {topology.domain}\n")

    def is_prepared(self, topology: Topology, paths: LabPaths) -> bool:
        return _resolv(topology).exists()

    def remove(self, topology: Topology, paths: LabPaths) -> None:
        place = _place(topology)
        if place.exists():
            with hold_lock(RUNTIME / "virtualbox.lock"):
                remove_interfaces(topology, place, _manage)
        _resolv(topology).unlink(missing_ok=True)

    def client_argv(self, topology: Topology, argv: Sequence[str]) -> list[str]:
        enter = ["unshare", "--mount", "--propagation", "slave", "--", "bash", "-euc", _AT_CLIENT]
        return [*enter, str(_resolv(topology)), *argv]

    def client_namespace(self, topology: Topology) -> Path | None:
        return None

    def host_argv(self, topology: Topology, argv: Sequence[str]) -> list[str]:
        """With the user's own VirtualBox: Vagrant's home is ours, but its machines are where he sees them."""
        return ["env", *(f"{name}={value}" for name, value in _environment().items()), *argv]

    def existing(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        return names_of(topology.lab, _list("vms"))

    def running(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        return names_of(topology.lab, _list("runningvms"))

    def box_versions(self, topology: Topology, paths: LabPaths) -> dict[str, str]:
        """As Vagrant notes it beside each machine that it makes."""
        versions = {}
        for name in self.existing(topology, paths):
            with suppress(OSError, ValueError, KeyError, TypeError):
                note = paths.rendered / ".vagrant/machines" / name / "virtualbox/box_meta"
                versions[name] = str(json.loads(note.read_text())["version"])
        return versions

    def stand_in(self, topology: Topology, gateway: Node, paths: LabPaths) -> AbstractContextManager[None]:
        raise LabError(f"provider virtualbox: no {IN_PLACE}")

    def is_box_whole(self, box: Box, installed: Path) -> bool:
        try:
            wanted: str = json.loads(box.manifest.read_text())["image_sha256"]
            return sha256_of(installed / DISK_FILE) == wanted
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def take_box(self, topology: Topology, box: Box, installed: Path, paths: LabPaths) -> None:
        """Vagrant makes the base of all linked clones itself. What goes here are disks that nobody has any more."""
        wanted = {own_disk(paths, node, volume) for node in topology.nodes for volume in node.own_disks}
        wanted |= {seed_disk(paths, node) for node in topology.nodes}
        machines = self.existing(topology, paths)
        for disk in paths.machines.glob("*/*.vdi"):
            if disk not in wanted and disk.parent.name not in machines:
                _forget(disk)
                disk.unlink(missing_ok=True)

    def before_boot(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        directory = paths.machines / node.name
        directory.mkdir(parents=True, exist_ok=True)
        _make_seed(topology, node, paths)
        for volume in node.own_disks:
            disk, mib = own_disk(paths, node, volume), volume.disk_mib
            if not disk.exists():
                words = ("--filename", str(disk), "--size", str(mib), "--format", "VDI")
                _manage("createmedium", "disk", *words)
                _forget(disk)  # until it is in a machine
            elif vdi_mib(disk) < mib:
                _manage("modifymedium", "disk", str(disk), "--resize", str(mib), timeout=_START_SECONDS)

    def before_removal(self, topology: Topology, names: Sequence[str], paths: LabPaths) -> None:
        """VirtualBox removes a machine with all disks that are in it: those that outlive it are taken out."""
        for node in (node for node in topology.nodes if node.name in names and node.own_disks):
            self.power_off(topology, node)
            for port, volume in enumerate(node.own_disks, 2):
                name = machine_name(topology.lab, node.name)
                _manage("storageattach", name, *attach_words(port, "none"), check=False)
                _forget(own_disk(paths, node, volume))

    def forget_machines(self, topology: Topology, paths: LabPaths) -> None:
        for node in topology.nodes:
            self.power_off(topology, node)
        for name in self.existing(topology, paths):
            _patiently("unregistervm", machine_name(topology.lab, name), "--delete")

    def fit_disks(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        """Only while it is off: ``before_boot``."""

    def power_off(self, topology: Topology, node: Node) -> None:
        self.cut_power(topology, node)
        deadline = time.monotonic() + _OFF_SECONDS
        while (state := _state(topology, node)) not in _OFF:
            if time.monotonic() > deadline:
                raise LabError(f"{node.name}: was powered off, and VirtualBox says: {state}")
            time.sleep(0.1)

    def cut_power(self, topology: Topology, node: Node) -> None:
        """The links first: what a machine still sends while it is powered off gets nowhere. One that is off is left
        alone."""
        name = machine_name(topology.lab, node.name)
        if name not in _list("runningvms"):
            return
        for card in _cards(node):
            _manage("controlvm", name, f"setlinkstate{card}", "off", check=False)
        result = _manage("controlvm", name, "poweroff", check=False)
        if not result.ok and _state(topology, node) not in _OFF:
            raise CommandFailed(describe(result))

    def hold_power(self, topology: Topology) -> None:
        """As quick as it is."""

    def power_on(self, topology: Topology, node: Node) -> bool:
        if _state(topology, node) not in _OFF:
            return False
        name = machine_name(topology.lab, node.name)
        on = [word for card in _cards(node) for word in (f"--cableconnected{card}", "on")]
        _patiently("modifyvm", name, *on)
        _patiently("startvm", name, "--type", "headless")
        return True

    def slow_down(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        """Not needed: it is never emulated."""

    def share_alike(self, topology: Topology, paths: LabPaths) -> None:
        """They do."""

    def freeze(self, topology: Topology, node: Node) -> None:
        if _state(topology, node) == "running":
            _manage("controlvm", machine_name(topology.lab, node.name), "pause")

    def thaw(self, topology: Topology, node: Node) -> None:
        if _state(topology, node) == "paused":
            _manage("controlvm", machine_name(topology.lab, node.name), "resume")

    def frozen(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        running = self.running(topology, paths)
        nodes = [node for node in topology.nodes if node.name in running]
        return frozenset(node.name for node in nodes if _state(topology, node) == "paused")

    def save_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path) -> None:
        raise LabError("provider virtualbox: no snapshots while it runs")

    def load_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path, *, disk: bool) -> None:
        raise LabError("provider virtualbox: no snapshots while it runs")

    def volume_on_host(self, paths: LabPaths, node: Node, name: str) -> Path | None:
        return None

    def disk_usage_mib(self, paths: LabPaths) -> int:
        places = {paths.machines}
        for name in names_of(paths.root.name, _list("vms")):
            if settings := _info(machine_name(paths.root.name, name)).get("CfgFile"):
                places.add(Path(settings).parent)
        files = (file for place in places for file in place.rglob("*") if file.is_file())
        return sum(file.stat().st_blocks * 512 for file in files) >> 20

    def console_tail(self, node: Node, paths: LabPaths, lines: int) -> list[str]:
        try:
            text = console_of(paths, node).read_text(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:]

    def facts(self) -> dict[str, str]:
        try:
            version = _manage("--version", check=False).stdout.strip()
        except MissingTool:
            version = ""
        return {"provider": self.name, "virtualbox": version or "not installed", "kernel": platform.release()}


def remove_base(installed: Path) -> None:
    """Have VirtualBox let go of the machine that all linked clones of an installed box are clones of, which Vagrant
    leaves there for good. One that still has clones stays."""
    with suppress(FileNotFoundError, MissingTool):
        _manage("unregistervm", (installed / "master_id").read_text().strip(), "--delete", check=False)


def parse_info(text: str) -> dict[str, str]:
    """`showvminfo --machinereadable`: a name and a value a line, each in quotes or not."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip('"'): value.strip('"') for name, equals, value in pairs if equals}


def vdi_mib(disk: Path) -> int:
    """How large a machine sees a VDI: the header has it at 368 (VirtualBox's VDICore.h, cbDisk)."""
    with disk.open("rb") as stream:
        stream.seek(368)
        return int.from_bytes(stream.read(8), "little") >> 20


def _refuse(topology: Topology) -> None:
    """What a lab may ask of others, and not of VirtualBox."""
    if topology.kubernetes is not None:
        hint = "boot it with --provider lxc, or set `kubernetes: {source: none}`"
        raise LabError("kubernetes: must be source: none with provider: virtualbox, which has no clusters yet", hint)
    if topology.uplink != "none":
        hint = "boot it with --provider lxc or libvirt, or set `uplink: none`"
        raise LabError(f"uplink: must be none with provider: virtualbox; got {topology.uplink}", hint)
    for node in (node for node in topology.nodes if node.disk_mib):
        hint = "leave it out: machines have the box's disk; a volume may have a `disk:` of its own"
        got = f"{node.disk_mib // 1024}G"
        raise LabError(f"nodes.{node.role}.disk: cannot be set with provider: virtualbox; got {got}", hint)


def _place(topology: Topology) -> Path:
    return RUNTIME / topology.lab


def _resolv(topology: Topology) -> Path:
    return _place(topology) / "resolv.conf"


def _cards(node: Node) -> range:
    """The numbers of its network cards; VirtualBox's own NAT is the first."""
    return range(2, len(node.nics) + 2)


def _make_seed(topology: Topology, node: Node, paths: LabPaths) -> None:
    """With the same identifier each time: a machine that has it finds it again."""
    disk = seed_disk(paths, node)
    image = disk.with_suffix(".iso")
    try:
        write_seed(paths.rendered / "nodes" / node.name, image)
        os.truncate(image, -(-image.stat().st_size // _MIB) * _MIB)  # a VDI has at least one
        part = disk.with_suffix(".part")
        part.unlink(missing_ok=True)
        own = str(uuid5(NAMESPACE_URL, f"rackbox:{topology.lab}:{node.management.mac}:seed"))
        _manage("convertfromraw", str(image), str(part), "--format", "VDI", "--uuid", own)
        part.chmod(0o600)
        part.replace(disk)
    finally:
        image.unlink(missing_ok=True)


def _environment() -> Mapping[str, str]:
    own = {name: value for name, value in os.environ.items() if name.startswith("VBOX_")}
    return {"HOME": str(Path.home()), **own}


def _manage(*words: str, timeout: float = 60, check: bool = True) -> Result:
    """VirtualBox's daemon ends when nobody has asked it for five seconds; of several who ask just then, one or another
    is told that it did not start, and nothing was done."""
    for _ in range(_ASKED_AGAIN):
        result = run(["VBoxManage", *words], timeout=timeout, check=False)
        if result.ok or "COM server is not running" not in result.stderr:
            break
        time.sleep(1)
    if check and not result.ok:
        raise CommandFailed(describe(result))
    return result


def _patiently(*words: str) -> None:
    """VirtualBox holds a machine for a moment after it has gone off."""
    deadline = time.monotonic() + _OFF_SECONDS
    while True:
        result = _manage(*words, timeout=_START_SECONDS, check=False)
        if result.ok:
            return
        if "lock" not in result.stderr or time.monotonic() > deadline:
            raise CommandFailed(describe(result))
        time.sleep(0.3)


def _list(what: str) -> Iterator[str]:
    """The names in `list vms` and the like: a line each, ``"name" {identifier}``."""
    lines = _manage("list", what).stdout.splitlines()
    return (match[1] for line in lines if (match := re.match(r'"(.*)" \{[0-9a-f-]+\}$', line)))


def _info(name: str) -> dict[str, str]:
    """Empty for a machine that is not there. Whoever looks at a machine holds it for a moment, and fails when somebody
    else who looked at it at the same time, like Vagrant, lets go of it first."""
    deadline = time.monotonic() + _LOOK_SECONDS
    while True:
        result = _manage("showvminfo", "--machinereadable", name, check=False)
        if result.ok:
            return parse_info(result.stdout)
        if "VBOX_E_OBJECT_NOT_FOUND" in result.stderr:
            return {}
        if time.monotonic() > deadline:
            raise CommandFailed(describe(result))
        time.sleep(0.1)


def _state(topology: Topology, node: Node) -> str:
    """As VirtualBox says it; "" for a machine that is not there."""
    return _info(machine_name(topology.lab, node.name)).get("VMState", "")


def _forget(disk: Path) -> None:
    """Have VirtualBox let go of a disk that is in no machine; the file stays."""
    _manage("closemedium", "disk", str(disk), check=False)

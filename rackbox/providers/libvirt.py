"""Virtual machines (QEMU by libvirt) in the lab's own namespace: on KVM where it is proven to work, emulated elsewhere.

vagrant-libvirt creates and starts the machines, through a libvirtd of the lab's own (``rackbox.libvirtd``). Pulling the
power and putting it back, pausing and snapshots go to QEMU and to libvirt directly.
"""

from __future__ import annotations

import contextlib
import json
import platform
import re
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from rackbox import libvirtd
from rackbox.box import Box, sha256_of
from rackbox.errors import CommandFailed, LabError, MissingTool
from rackbox.kvm import Kvm, prove_kvm
from rackbox.paths import LabPaths
from rackbox.place import Mount, enter_argv, remove_place
from rackbox.providers import CLUSTERS, IN_PLACE, Capability
from rackbox.providers.libvirt_disks import (
    BOX_IMAGE,
    SAVE_SECONDS,
    backing_file,
    copy_disk,
    disk_names,
    disk_targets,
    drop_disks,
    link_box,
    make_disks,
    own_disk_name,
    seed_name,
    virtual_mib,
)
from rackbox.providers.libvirt_settings import machine_settings
from rackbox.providers.placed import KILL_SCRIPT, PlacedProvider, cut_links_script, place_of
from rackbox.run import Result, describe, run
from rackbox.seed import write_seed
from rackbox.templating import VagrantSetting
from rackbox.topology import Node, Topology
from rackbox.uplink import remove_uplink

EMULATED_PATIENCE = 6.0
_OFF_SECONDS = 20.0
_START_SECONDS = 120.0
SSH_LIMIT = """\
add table ip rackbox-ssh
delete table ip rackbox-ssh
table ip rackbox-ssh {
    set asked { type ipv4_addr; flags dynamic; size 65535; }
    chain output {
        type filter hook output priority filter
        tcp dport 22 tcp flags & (syn | ack) == syn \\
            update @asked { ip daddr limit rate over 2/second burst 5 packets } drop
    }
}
"""
"""nftables: this computer opens SSH to each machine five times at once, then twice a second; TCP repeats what is more.

While a machine's network is up and its sshd is not, Vagrant's communicator asks again the moment it is refused: each
answer is the machine's own work, which emulation makes slow, and the asking takes most of a core beside it.
"""


class LibvirtProvider(PlacedProvider):
    """See ``rackbox.providers.Provider``. ``kvm`` is how KVM's proof came out; without one it is looked for."""

    name = "libvirt"
    seed_in_guest = ""

    capabilities = (
        Capability("boots without virtualisation", True, "emulated, some ten times slower than on KVM"),
        Capability("LVM volumes", True, "a logical volume each; they grow live"),
        Capability("disks of their own", True, "Gluster's bricks: XFS in a thin pool; disks grow live, too"),
        Capability("own kernel modules", True, "a kernel of its own"),
        Capability("power cut", True, "links cut first, then QEMU killed"),
        Capability("processes frozen", False, "the whole machine is paused instead"),
        Capability("whole machine paused", True, "its kernel, too: it answers nothing"),
        Capability("durability after a power cut", True, "but for a crash of this computer itself (cache=unsafe)"),
        Capability("snapshots while it runs", True, "memory and disks of all machines, at one moment"),
        Capability(IN_PLACE, False, "take the lab down and up to use a new box"),
        Capability(CLUSTERS, False, "no clusters yet: lxc has them"),
    )

    def __init__(self, kvm: Kvm | None = None) -> None:
        self._given = kvm

    @cached_property
    def kvm(self) -> Kvm:
        return self._given or prove_kvm()

    @property
    def patience(self) -> float:
        return 1.0 if self.kvm.works else EMULATED_PATIENCE

    @property
    def remark(self) -> str:
        return "" if self.kvm.works else f"machines are emulated, some ten times slower than on KVM ({self.kvm.reason})"

    def vagrant_settings(
        self, topology: Topology, node: Node, paths: LabPaths, release: Path | None = None
    ) -> tuple[VagrantSetting, ...]:
        return machine_settings(topology, node, _console(paths, node), kvm=self.kvm.works)

    def mounts(self, paths: LabPaths) -> Sequence[Mount]:
        return libvirtd.mounts(paths)

    def prepare(self, topology: Topology, paths: LabPaths) -> None:
        if topology.kubernetes is not None:
            hint = "boot it with --provider lxc, or set `kubernetes: {source: none}`"
            raise LabError("kubernetes: must be source: none with provider: libvirt, which has no clusters yet", hint)
        place = self.make_networks(topology, paths)
        if not self.kvm.works:  # a comfort: nothing is wrong without it
            run(enter_argv(place, ["nft", "-f", "-"]), timeout=10, input=SSH_LIMIT, check=False)
        (paths.logs / "console").mkdir(parents=True, exist_ok=True)
        libvirtd.start_libvirtd(place, topology, paths)

    def is_prepared(self, topology: Topology, paths: LabPaths) -> bool:
        return super().is_prepared(topology, paths) and libvirtd.is_running(paths)

    def remove(self, topology: Topology, paths: LabPaths) -> None:
        place = place_of(topology)
        remove_uplink(place)
        remove_place(place)

    def existing(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        return frozenset(file.stem for file in libvirtd.definitions(paths).glob("*.xml"))

    def running(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        return frozenset(node.name for node in topology.nodes if _qemu_pid(paths, node))

    def box_versions(self, topology: Topology, paths: LabPaths) -> dict[str, str]:
        """By the name of what each machine's disk lies on: …_vagrant_box_image_<version>_box.img."""
        versions = {}
        for name in self.existing(topology, paths):
            backing = backing_file(libvirtd.images(paths) / f"{name}.img")
            if match := re.search(r"_vagrant_box_image_(.+)_box\.img$", backing):
                versions[name] = match[1]
        return versions

    def is_box_whole(self, box: Box, installed: Path) -> bool:
        try:
            wanted: str = json.loads(box.manifest.read_text())["image_sha256"]
            return sha256_of(installed / BOX_IMAGE) == wanted
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def take_box(self, topology: Topology, box: Box, installed: Path, paths: LabPaths) -> None:
        pool = libvirtd.images(paths)
        link_box(pool, box, installed)
        drop_disks(pool, topology.nodes, self.existing(topology, paths))
        self._refresh(topology)

    def before_boot(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        pool = libvirtd.images(paths)
        write_seed(paths.rendered / "nodes" / node.name, pool / seed_name(node))
        make_disks(pool, node)
        self._refresh(topology)

    def fit_disks(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        pool = libvirtd.images(paths)
        disks = {target: (own_disk_name(node, volume), volume.disk_mib) for target, volume in disk_targets(node)}
        for target, (name, mib) in {"vda": (f"{node.name}.img", node.disk_mib), **disks}.items():
            if 0 < virtual_mib(pool / name) < mib:
                self._virsh(topology, "blockresize", node.name, target, f"{mib}MiB")

    def power_off(self, topology: Topology, node: Node) -> None:
        self.cut_power(topology, node)
        self._wait_until_off(topology, node)

    def cut_power(self, topology: Topology, node: Node) -> None:
        run(enter_argv(place_of(topology), ["bash", "-euc", _cut(node)]), timeout=30)

    def power_on(self, topology: Topology, node: Node) -> bool:
        state = self._state(topology, node)
        if state != "shut off":
            script = f'{_own_pid(node)}\n[ -n "$pid" ] && kill -0 $pid'
            if run(enter_argv(place_of(topology), ["bash", "-c", script]), timeout=10, check=False).ok:
                return False
            self._wait_until_off(topology, node)
        self._virsh(topology, "start", node.name, timeout=_START_SECONDS)
        return True

    def freeze(self, topology: Topology, node: Node) -> None:
        if self._state(topology, node) != "paused":
            self._virsh(topology, "suspend", node.name)

    def thaw(self, topology: Topology, node: Node) -> None:
        if self._state(topology, node) == "paused":
            self._virsh(topology, "resume", node.name)

    def frozen(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        if not self.is_prepared(topology, paths):
            return frozenset()
        return frozenset(self._virsh(topology, "list", "--name", "--state-paused").stdout.split())

    def save_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path) -> None:
        self._virsh(topology, "save", node.name, str(directory / f"{node.name}.mem"), "--paused", timeout=SAVE_SECONDS)
        for name in disk_names(node):
            copy_disk(libvirtd.images(paths) / name, directory / name)

    def load_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path, *, disk: bool) -> None:
        memory = directory / f"{node.name}.mem"
        if not memory.exists() or _qemu_pid(paths, node):
            return
        if disk:
            for name in disk_names(node):
                copy_disk(directory / name, libvirtd.images(paths) / name)
        self._virsh(topology, "restore", str(memory), "--paused", timeout=SAVE_SECONDS)

    def disk_usage_mib(self, paths: LabPaths) -> int:
        own = [disk for disk in libvirtd.images(paths).glob("*.*") if "_vagrant_box_image_" not in disk.name]
        return sum(disk.stat().st_blocks * 512 for disk in own) >> 20

    def console_tail(self, node: Node, paths: LabPaths, lines: int) -> list[str]:
        try:
            text = _console(paths, node).read_text(errors="replace")
        except FileNotFoundError:
            return []
        return [line.rstrip("\r") for line in text.splitlines()][-lines:]

    def facts(self) -> dict[str, str]:
        versions = {}
        for name, argv in (("libvirt", ["libvirtd", "--version"]), ("qemu", ["qemu-system-x86_64", "--version"])):
            try:
                said = run(argv, timeout=10, check=False).stdout
            except MissingTool:
                said = ""
            match = re.search(r"\d+(?:\.\d+)+", said)
            versions[name] = match[0] if match else "not installed"
        accelerator = "kvm" if self.kvm.works else "emulation"
        return {"provider": "libvirt", **versions, "accelerator": accelerator, "kernel": platform.release()}

    # --- help

    def _virsh(self, topology: Topology, *words: str, timeout: float = 30) -> Result:
        return run(enter_argv(place_of(topology), ["virsh", "--quiet", *words]), timeout=timeout)

    def _refresh(self, topology: Topology) -> None:
        self._virsh(topology, "pool-refresh", libvirtd.POOL)

    def _state(self, topology: Topology, node: Node) -> str:
        """As virsh says it; "shut off" for a machine that is not there (any more)."""
        argv = enter_argv(place_of(topology), ["virsh", "--quiet", "domstate", node.name])
        result = run(argv, timeout=30, check=False)
        if not result.ok and "failed to get domain" in result.stderr:
            return "shut off"
        if not result.ok:
            raise CommandFailed(describe(result))
        return result.stdout.strip()

    def _wait_until_off(self, topology: Topology, node: Node) -> None:
        """libvirt notices QEMU's end by itself, and tidies up after it."""
        deadline = time.monotonic() + _OFF_SECONDS
        while (state := self._state(topology, node)) != "shut off":
            if time.monotonic() > deadline:
                raise LabError(f"{node.name}: QEMU was killed, and libvirt says: {state}")
            time.sleep(0.05)


def _cut(node: Node) -> str:
    """Bash: cut a machine's links and kill its QEMU; ends once that does not run any more. The links first, as if all
    of it happened at once: a packet that was on its way is gone, too. A process that has got the number of a QEMU that
    crashed is left alone."""
    return f"{cut_links_script(node)}\n{_own_pid(node)}\n{KILL_SCRIPT}"


def _own_pid(node: Node) -> str:
    """Bash: the machine's QEMU as ``$pid``, empty if there is none."""
    return f"pid=$(cat /run/libvirt/qemu/{node.name}.pid 2>/dev/null || true)\n{only_own(node)}"


def only_own(node: Node) -> str:
    """Bash: empties ``$pid`` if that is somebody else's process. libvirt writes the number down before its child has
    become QEMU, and one that is about to end has no command line any more: both are the machine's still."""
    return f"""argv=()
mapfile -d '' argv 2>/dev/null </proc/${{pid:-none}}/cmdline || pid=
[ ${{#argv[@]}} -eq 0 ] || [[ ${{argv[0]}} == *libvirtd || " ${{argv[*]}}" == *" guest={node.name},"* ]] || pid="""


def _qemu_pid(paths: LabPaths, node: Node) -> int:
    """0 while the machine has no power."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(libvirtd.pid_file(paths, node.name).read_text())
        if f"guest={node.name},".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return 0


def _console(paths: LabPaths, node: Node) -> Path:
    return paths.logs / "console" / f"{node.name}.log"

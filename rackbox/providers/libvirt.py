"""Virtual machines (QEMU by libvirt) in the lab's own namespace: on KVM where it is proven to work, emulated elsewhere.

vagrant-libvirt creates and starts the machines, through a libvirtd of the lab's own (``rackbox.libvirtd``). Pulling the
power and putting it back, pausing and snapshots go to QEMU and to libvirt directly.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import struct
import time
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from rackbox import libvirtd
from rackbox.box import Box, sha256_of
from rackbox.errors import CommandFailed, LabError, MissingTool
from rackbox.kvm import Kvm, prove_kvm
from rackbox.paths import LabPaths
from rackbox.place import Mount, enter_argv, remove_place
from rackbox.providers import Capability
from rackbox.providers.placed import PlacedProvider, cut_links_script, place_of, port_name
from rackbox.run import Result, describe, run
from rackbox.seed import write_seed
from rackbox.templating import Symbol, VagrantSetting
from rackbox.topology import Node, Topology, Volume
from rackbox.uplink import remove_uplink

EMULATED_CPU = "Westmere"
"""Named, because libvirt 9 refuses `max` without KVM. It has the AES instructions, which QEMU hands to this computer's
own; emulated one by one, TLS would take many times longer."""
EMULATED_PATIENCE = 6.0
BOX_IMAGE = "box.img"
_OFF_SECONDS = 20.0
_START_SECONDS = 120.0
_SAVE_SECONDS = 300.0


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
        Capability("renewal in place", False, "take the lab down and up to use a new box"),
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
        cpu = [("cpu_mode=", "host-passthrough")] if self.kvm.works else []
        if not self.kvm.works:
            cpu = [("cpu_mode=", "custom"), ("cpu_model=", EMULATED_CPU)]
        plain: list[tuple[str, str | int | bool]] = [
            ("driver=", "kvm" if self.kvm.works else "qemu"),
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
            VagrantSetting("serial", options={"type": "file", "source": {"path": str(_console(paths, node))}}),
            # Found in the pool under that name, and left there: vagrant-libvirt would make an empty one.
            VagrantSetting(
                "storage",
                (Symbol("file"),),
                {
                    "path": _seed_name(node),
                    "type": "raw",
                    "device": "vdz",
                    "bus": "virtio",
                    "size": "1M",
                    "cache": "unsafe",
                    "allow_existing": True,
                },
            ),
            *(_own_disk(node, volume, target) for target, volume in _targets(node)),
        )

    def mounts(self, paths: LabPaths) -> Sequence[Mount]:
        return libvirtd.mounts(paths)

    def prepare(self, topology: Topology, paths: LabPaths) -> None:
        if topology.kubernetes is not None:
            hint = "boot it with --provider lxc, or set `kubernetes: {source: none}`"
            raise LabError("kubernetes: must be source: none with provider: libvirt, which has no clusters yet", hint)
        place = self.make_networks(topology, paths)
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
        """Link the box's image into the pool under the name by which vagrant-libvirt looks for it, which saves it the
        upload of a copy for each lab; and let go of images that no machine stands on any more."""
        pool = libvirtd.images(paths)
        used = {Path(backing_file(disk)).name for disk in pool.glob("*.img")}
        image = pool / volume_name(box)
        for old in pool.glob("*_vagrant_box_image_*.img"):
            if old.name not in used and not (old == image and old.samefile(installed / BOX_IMAGE)):
                old.unlink()
        mine = {_own_disk_name(node, volume) for node in topology.nodes for volume in node.own_disks}
        there = tuple(f"{name}-" for name in self.existing(topology, paths))
        for disk in pool.glob("*.qcow2"):
            if disk.name not in mine and not disk.name.startswith(there):
                disk.unlink()
        if not image.exists():
            try:
                os.link(installed / BOX_IMAGE, image)
            except OSError:  # on another file system
                run(["cp", "--reflink=auto", str(installed / BOX_IMAGE), str(image)], timeout=120)
        self._refresh(topology)

    def before_boot(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        pool = libvirtd.images(paths)
        write_seed(paths.rendered / "nodes" / node.name, pool / _seed_name(node))
        wanted = {pool / _own_disk_name(node, volume): volume.disk_mib for volume in node.own_disks}
        for disk in (disk for disk in wanted if not disk.exists()):
            run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), f"{wanted[disk]}M"], timeout=30)
        own = pool / f"{node.name}.img"
        if own.exists():
            wanted[own] = node.disk_mib
        for disk, mib in wanted.items():
            if virtual_mib(disk) < mib:
                run(["qemu-img", "resize", "-q", str(disk), f"{mib}M"], timeout=30)
        self._refresh(topology)

    def fit_disks(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        pool = libvirtd.images(paths)
        disks = {target: (_own_disk_name(node, volume), volume.disk_mib) for target, volume in _targets(node)}
        for target, (name, mib) in {"vda": (f"{node.name}.img", node.disk_mib), **disks}.items():
            if 0 < virtual_mib(pool / name) < mib:
                self._virsh(topology, "blockresize", node.name, target, f"{mib}MiB")

    def power_off(self, topology: Topology, node: Node) -> None:
        self.cut_power(topology, node)
        self._wait_until_off(topology, node)

    def cut_power(self, topology: Topology, node: Node) -> None:
        run(enter_argv(place_of(topology), ["bash", "-euc", _cut(node)]), timeout=30)

    def power_on(self, topology: Topology, node: Node) -> None:
        state = self._state(topology, node)
        if state != "shut off":
            script = f"pid=$(cat /run/libvirt/qemu/{node.name}.pid) && kill -0 $pid"
            if run(enter_argv(place_of(topology), ["bash", "-c", script]), timeout=10, check=False).ok:
                return
            self._wait_until_off(topology, node)
        self._virsh(topology, "start", node.name, timeout=_START_SECONDS)

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
        self._virsh(topology, "save", node.name, str(directory / f"{node.name}.mem"), "--paused", timeout=_SAVE_SECONDS)
        for name in _disk_names(node):
            _copy(libvirtd.images(paths) / name, directory / name)

    def load_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path, *, disk: bool) -> None:
        memory = directory / f"{node.name}.mem"
        if not memory.exists() or _qemu_pid(paths, node):
            return
        if disk:
            for name in _disk_names(node):
                _copy(directory / name, libvirtd.images(paths) / name)
        self._virsh(topology, "restore", str(memory), "--paused", timeout=_SAVE_SECONDS)

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


def volume_name(box: Box) -> str:
    """A box's image in a pool, as vagrant-libvirt names it (action/handle_box_image.rb)."""
    return f"{box.name.replace('/', '-VAGRANTSLASH-')}_vagrant_box_image_{box.version}_{BOX_IMAGE}"


def backing_file(disk: Path) -> str:
    """What a qcow2 image lies on; "" where it lies on nothing, or is none (QEMU's docs/interop/qcow2.rst: offset and
    size of the name stand in the header)."""
    try:
        with disk.open("rb") as stream:
            magic, _version, offset, size = struct.unpack(">4sIQI", stream.read(20))
            if magic != b"QFI\xfb" or not offset or size > 1023:
                return ""
            stream.seek(offset)
            return stream.read(size).decode(errors="replace")
    except (OSError, struct.error):
        return ""


def virtual_mib(disk: Path) -> int:
    """How large a machine sees a qcow2 image (the header's field at 24); 0 where there is none."""
    try:
        with disk.open("rb") as stream:
            magic, size = struct.unpack(">4s20xQ", stream.read(32))
    except (OSError, struct.error):
        return 0
    return size >> 20 if magic == b"QFI\xfb" else 0


def _targets(node: Node) -> list[tuple[str, Volume]]:
    """The volumes with a disk of their own, and that disk's name inside: vdb and so on."""
    return [(f"vd{chr(ord('b') + number)}", volume) for number, volume in enumerate(node.own_disks)]


def _own_disk_name(node: Node, volume: Volume) -> str:
    return f"{node.name}-{volume.name}.qcow2"


def _disk_names(node: Node) -> list[str]:
    """Every disk that a machine writes to."""
    return [f"{node.name}.img", *(_own_disk_name(node, volume) for volume in node.own_disks)]


def _own_disk(node: Node, volume: Volume, target: str) -> VagrantSetting:
    """Made before the machine is, and left there: what is on it outlives the machine."""
    options: dict[str, str | bool] = {
        "path": _own_disk_name(node, volume),
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


def _cut(node: Node) -> str:
    """Bash: cut a machine's links and kill its QEMU; ends once that does not run any more. The links first, as if all
    of it happened at once: a packet that was on its way is gone, too."""
    return f"""{cut_links_script(node)}
pid=$(cat /run/libvirt/qemu/{node.name}.pid 2>/dev/null || true)
if [[ $pid =~ ^[1-9][0-9]*$ ]] && kill -KILL "$pid" 2>/dev/null; then
    for left in {{1000..0}}; do
        read -r _ _ state _ 2>/dev/null </proc/$pid/stat || break
        [ "$state" != Z ] || break
        [ $left -gt 0 ] || exit 1
        sleep 0.005
    done
fi"""


def _qemu_pid(paths: LabPaths, node: Node) -> int:
    """0 while the machine has no power."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(libvirtd.pid_file(paths, node.name).read_text())
        if f"guest={node.name},".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return 0


def _copy(source: Path, target: Path) -> None:
    """A whole file or none; holes stay holes, and where the file system can, nothing is copied at all."""
    part = target.with_name(f"{target.name}.part")
    run(["cp", "--reflink=auto", "--sparse=auto", str(source), str(part)], timeout=_SAVE_SECONDS)
    part.replace(target)


def _console(paths: LabPaths, node: Node) -> Path:
    return paths.logs / "console" / f"{node.name}.log"


def _seed_name(node: Node) -> str:
    return f"{node.name}-seed.img"

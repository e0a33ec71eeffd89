"""System containers (LXC) in the lab's own namespace: any Linux machine, no virtualisation.

vagrant-lxc creates and starts the containers; what it is asked for is kept small, because its upstream is archived:
NICs, mounts and names are given as plain LXC settings. Pulling the power and putting it back go to LXC directly.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shlex
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import indent

from rackbox.box import Box, sha256_of
from rackbox.cgroups import LEGACY_INIT, LEGACY_SWITCH, NodeView, host_view, node_view
from rackbox.direct_cut import DirectCut, try_direct_cut
from rackbox.errors import LabError, MissingTool
from rackbox.limits import raise_limits, restore_limits
from rackbox.paths import LabPaths
from rackbox.place import NETNS_DIR, Mount, enter_argv, remove_place
from rackbox.providers import CLUSTERS, IN_PLACE, Capability
from rackbox.providers.placed import KILL_SCRIPT, RUNTIME, PlacedProvider, cut_links_script, place_of, port_name
from rackbox.release import RELEASE_DIRECTORY
from rackbox.run import run
from rackbox.shares import BOOT_NICE, BOOT_WEIGHT, renice, threads_of_group, weigh
from rackbox.templating import VagrantSetting
from rackbox.topology import Node, Topology
from rackbox.uplink import remove_uplink

ISOLATE_PORT = Path(__file__).parent / "lxc_files" / "isolate-port"
PROGRAMS = Path(__file__).parent / "lxc_files" / "bin"
"""Our ``lxc-start``, before LXC's own on the PATH of what starts containers."""
SHOW_V1 = ("unshare", "--mount", "--propagation", "slave", str(PROGRAMS.parent / "show-v1"))
ARCHIVE = "rootfs.tar.zst"
TREE = ("etc/os-release", "sbin/init", "usr/bin/cloud-init", "usr/lib/systemd/systemd", "var/lib/dpkg/status")
"""What is looked for in a box's tree, which the first machine's making unpacks and all machines stand on."""
SEED = "var/lib/cloud/seed/nocloud"
LXC_PATH = Path("/var/lib/lxc")
LIMITS = RUNTIME / "limits-before.json"


class LxcProvider(PlacedProvider):
    """See ``rackbox.providers.Provider``."""

    name = "lxc"
    patience = 1.0
    remark = ""
    seed_in_guest = f"/{SEED}"
    _direct: DirectCut | None = None

    capabilities = (
        Capability("boots without virtualisation", True, "shares the host's kernel"),
        Capability("LVM volumes", False, "volumes are directories of their own; sizes are not enforced"),
        Capability("disks of their own", False, "Gluster's bricks are directories"),
        Capability("own kernel modules", False, "what the host's kernel has"),
        Capability("power cut", True, "links cut first, then everything killed"),
        Capability("processes frozen", True, "the kernel goes on: it answers ARP, and accepts connections"),
        Capability("whole machine paused", False, "its processes can be frozen, its kernel is the host's"),
        Capability("durability after a power cut", False, "the host's page cache survives: a cut proves restart only"),
        Capability("snapshots while it runs", False, "a container's memory is the host's"),
        Capability(IN_PLACE, True, "one machine after the other takes a new box"),
        Capability(CLUSTERS, True, "nodes are containers that run containers"),
    )

    def vagrant_settings(
        self, topology: Topology, node: Node, paths: LabPaths, release: Path | None = None
    ) -> tuple[VagrantSetting, ...]:
        settings = [
            # We are root in our own namespace: no sudo, no wrapper.
            VagrantSetting("privileged=", (False,)),
            VagrantSetting("backingstore=", ("dir",)),
            VagrantSetting("container_name=", (node.name,)),
            VagrantSetting("tmpfs_mount_size=", ("",)),
            VagrantSetting("ssh_ip_addr=", (str(node.management.address.ip),)),
            _lxc("cgroup.dir", f"{_cgroup(topology)}/{node.name}"),
        ]
        for number, nic in enumerate(node.nics):
            settings += [
                _lxc(f"net.{number}.type", "veth"),
                _lxc(f"net.{number}.link", nic.network),
                _lxc(f"net.{number}.name", nic.network),
                _lxc(f"net.{number}.flags", "up"),
                _lxc(f"net.{number}.hwaddr", nic.mac),
                _lxc(f"net.{number}.veth.pair", port_name(node, number)),
            ]
        settings.append(_lxc("net.0.script.up", str(ISOLATE_PORT)))
        seed = paths.rendered / "nodes" / node.name
        settings.append(_mount(seed, SEED, "ro"))
        own = [volume for volume in node.volumes if not volume.of_box]
        settings += [_mount(volume_dir(paths, node, v.name), v.mount.lstrip("/"), "rw") for v in own]
        if node in topology.kubernetes_nodes:
            settings += _node_settings(node_view(), release)
        return tuple(settings)

    def prepare(self, topology: Topology, paths: LabPaths) -> None:
        raise_limits(LIMITS)
        self.make_networks(topology, paths)
        for node in topology.nodes:
            for volume in (volume for volume in node.volumes if not volume.of_box):
                volume_dir(paths, node, volume.name).mkdir(parents=True, exist_ok=True)

    def volume_on_host(self, paths: LabPaths, node: Node, name: str) -> Path | None:
        found = any(volume.name == name and not volume.of_box for volume in node.volumes)
        return volume_dir(paths, node, name) if found else None

    def mounts(self, paths: LabPaths) -> Sequence[Mount]:
        return (Mount(LXC_PATH, paths.machines), Mount(Path("/run/lxc")))

    def remove(self, topology: Topology, paths: LabPaths) -> None:
        place = place_of(topology)
        remove_uplink(place)
        if place.exists():
            for name in self.existing(topology, paths):
                run(enter_argv(place, ["lxc-stop", "--kill", "--name", name]), timeout=30, check=False)
            tops = f"/sys/fs/cgroup/{_cgroup(topology)}"
            script = f"find {tops} -depth -type d -delete 2>/dev/null || true"
            run(enter_argv(place, ["bash", "-c", script]), timeout=10)
            if topology.kubernetes is not None and node_view() == "v1":
                script = script.replace(tops, f"/sys/fs/cgroup/*/{_cgroup(topology)}")
                run(enter_argv(place, [*SHOW_V1, "bash", "-c", script]), timeout=10)
        remove_place(place)
        if not any(NETNS_DIR.glob("rackbox-*")):
            restore_limits(LIMITS)

    def host_argv(self, topology: Topology, argv: Sequence[str]) -> list[str]:
        return super().host_argv(topology, [*_own_programs(topology), *argv])

    def existing(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        return frozenset(entry.parent.name for entry in paths.machines.glob("*/config"))

    def running(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        if not self.is_prepared(topology, paths):
            return frozenset()
        listing = run(enter_argv(place_of(topology), ["lxc-ls", "--running", "-1"]), timeout=20)
        return frozenset(listing.stdout.split())

    def box_versions(self, topology: Topology, paths: LabPaths) -> dict[str, str]:
        """By what each machine's overlay lies on: …/<version>/lxc/tree."""
        versions = {}
        for config in paths.machines.glob("*/config"):
            if match := re.search(r"^lxc\.rootfs\.path *= *overlay:(.*)/tree:", config.read_text(), re.MULTILINE):
                versions[config.parent.name] = Path(match[1]).parent.name
        return versions

    def is_box_whole(self, box: Box, installed: Path) -> bool:
        tree = installed / "tree"
        if tree.is_dir():
            lacking = [name for name in TREE if not os.path.lexists(tree / name)]
            if not lacking:
                return True
            raise LabError(
                f"{tree}: damaged, lacks {', '.join(lacking)}; every machine of this box stands on it",
                f"take down all labs, then remove {shlex.quote(str(installed))}: the next `up` installs it again",
            )
        # Nothing stands on it yet: the archive is looked at in full before the first machine unpacks it.
        try:
            wanted: str = json.loads(box.manifest.read_text())["rootfs_sha256"]
            return sha256_of(installed / ARCHIVE) == wanted
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def take_box(self, topology: Topology, box: Box, installed: Path, paths: LabPaths) -> None:
        """Nothing to do: the box's own template unpacks it for the first machine."""

    def before_boot(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        """vagrant-lxc means to cut its old block out of the config before each start, but writes the shorter text over
        the longer without truncating, so the block doubles each time. Cut it out for it."""
        config = paths.machines / node.name / "config"
        if not config.exists():
            _lay_in(paths, node)
            return
        text = config.read_text()
        # It appends: all from the first block on is its own, whole or left over.
        clean = re.sub(r"^# VAGRANT-BEGIN\n.*", "", text, flags=re.DOTALL | re.MULTILINE)
        if clean != text:
            config.write_text(clean)

    def fit_disks(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        """A container has none."""

    def power_off(self, topology: Topology, node: Node) -> None:
        script = f"{_cut(topology, node)}\nlxc-stop --kill --name {node.name} || [ $? -eq 2 ]"
        run(enter_argv(place_of(topology), ["bash", "-euc", script]), timeout=30)

    def hold_power(self, topology: Topology) -> None:
        self._direct = try_direct_cut(place_of(topology))

    def cut_power(self, topology: Topology, node: Node) -> None:
        if self._direct is not None:
            ports = [port_name(node, number) for number in range(len(node.nics))]
            with contextlib.suppress(OSError):
                self._direct(ports, f"{_cgroup(topology)}/{_payload(node)}")
                return
        run(enter_argv(place_of(topology), ["bash", "-euc", _cut(topology, node)]), timeout=30)

    def power_on(self, topology: Topology, node: Node) -> bool:
        if self._state(topology, node) != "STOPPED":
            return False
        start = [*_own_programs(topology), "lxc-start", "--daemon", "--name", node.name]
        run(enter_argv(place_of(topology), start), timeout=60)
        return True

    def slow_down(self, topology: Topology, node: Node, paths: LabPaths) -> None:
        if node not in topology.kubernetes_nodes:  # of others nothing shows that it would help
            return
        group = f"{_cgroup(topology)}/{node.name}"
        weigh(group, BOOT_WEIGHT)
        renice(partial(threads_of_group, group), 0, BOOT_NICE)

    def share_alike(self, topology: Topology, paths: LabPaths) -> None:
        if topology.kubernetes_nodes:
            renice(partial(threads_of_group, _cgroup(topology)), BOOT_NICE, 0)
        for node in topology.kubernetes_nodes:
            weigh(f"{_cgroup(topology)}/{node.name}", 1)

    def freeze(self, topology: Topology, node: Node) -> None:
        run(enter_argv(place_of(topology), ["lxc-freeze", "--name", node.name]), timeout=15)

    def thaw(self, topology: Topology, node: Node) -> None:
        state = self._state(topology, node)
        if state in ("FROZEN", "FREEZING"):
            run(enter_argv(place_of(topology), ["lxc-unfreeze", "--name", node.name]), timeout=15)

    def frozen(self, topology: Topology, paths: LabPaths) -> frozenset[str]:
        if not self.is_prepared(topology, paths):
            return frozenset()
        listing = run(enter_argv(place_of(topology), ["lxc-ls", "--frozen", "-1"]), timeout=20)
        return frozenset(listing.stdout.split())

    def _state(self, topology: Topology, node: Node) -> str:
        info = ["lxc-info", "--name", node.name, "--state", "--no-humanize"]
        return run(enter_argv(place_of(topology), info), timeout=10).stdout.strip()

    def save_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path) -> None:
        raise LabError("containers cannot be saved while they run", "`provider: libvirt` can")

    def load_machine(self, topology: Topology, node: Node, paths: LabPaths, directory: Path, *, disk: bool) -> None:
        raise LabError("containers cannot be saved while they run", "`provider: libvirt` can")

    def disk_usage_mib(self, paths: LabPaths) -> int:
        return 0  # nothing is ever saved

    def console_tail(self, node: Node, paths: LabPaths, lines: int) -> list[str]:
        try:
            text = (paths.machines / node.name / "console.log").read_text(errors="replace")
        except FileNotFoundError:
            return []
        return [line.rstrip("\r") for line in text.splitlines()][-lines:]

    def facts(self) -> dict[str, str]:
        try:
            version = run(["lxc-start", "--version"], timeout=10).stdout.strip()
        except MissingTool:
            version = "not installed"
        return {"provider": "lxc", "lxc": version, "kernel": platform.release(), "cgroups": host_view()}


def _own_programs(topology: Topology) -> list[str]:
    """What stands before a command that may start nodes of a cluster."""
    return [] if topology.kubernetes is None else ["env", f"PATH={PROGRAMS}:{os.environ.get('PATH', os.defpath)}"]


def _node_settings(view: NodeView, release: Path | None) -> list[VagrantSetting]:
    """What a node of a cluster gets besides. It runs containers itself: kubelet and runtime want cgroups and sysctls
    that can be written, every device, the kernel's log, and all capabilities."""
    cgroups = "cgroup-full:rw:force" if view == "v1" else "cgroup:rw"
    settings = [
        _lxc("mount.auto", f"proc:rw sys:rw {cgroups}"),
        _lxc("cap.drop", ""),
        _lxc("mount.entry", "/dev/kmsg dev/kmsg none bind,create=file 0 0"),
    ]
    if view == "v1":  # its systemd must be told to take it; ``lxc_files/bin/lxc-start`` shows it to it
        settings += [_lxc("init.cmd", LEGACY_INIT), _lxc("environment", LEGACY_SWITCH)]
    if release is not None:
        settings.append(_mount(release, RELEASE_DIRECTORY.lstrip("/"), "ro"))
    return settings


def _cut(topology: Topology, node: Node) -> str:
    """Bash: cut a machine's links and kill it; ends once none of its processes can run any more.

    The links first: the kernel that survives a container would say goodbye (FIN, RST) for its processes. Then
    ``cgroup.kill`` (Linux 5.14): when it returns, every process of the machine has been sent SIGKILL, frozen ones and
    those just born, too, and does nothing from then on but end. That takes up to a tenth of a second in which nobody
    need wait; a group that is gone has no process left. Where it is not to be had, its first process is killed, which
    ends after all others (pid_namespaces(7)), and waited for.
    """
    return f"""\
{cut_links_script(node)}
lab=/sys/fs/cgroup/{_cgroup(topology)}
machine=$lab/{_payload(node)}
if ! {{ echo 1 >$machine/cgroup.kill; }} 2>/dev/null && [[ -d $machine || ! -e $lab/cgroup.kill ]]; then
    pid=$(lxc-info --name {node.name} --pid --no-humanize || true)
{indent(KILL_SCRIPT, "    ")}
fi"""


def _lay_in(paths: LabPaths, node: Node) -> None:
    """Unpack what a machine takes along into the upper layer that its root will have."""
    archive = paths.kept / f"{node.name}.tar"
    upper = paths.machines / node.name / "overlay/delta"
    shutil.rmtree(upper.parent.parent, ignore_errors=True)  # of a machine that is gone
    if archive.exists():
        upper.mkdir(parents=True)
        run(["tar", "--extract", "--numeric-owner", "--file", str(archive), "--directory", str(upper)], timeout=30)


def volume_dir(paths: LabPaths, node: Node, volume: str) -> Path:
    return paths.root / "volumes" / node.name / volume


def _cgroup(topology: Topology) -> str:
    return f"rackbox-{topology.lab}"


def _payload(node: Node) -> str:
    """A machine's own control group, below its lab's."""
    return f"{node.name}/lxc.payload.{node.name}"


def _lxc(key: str, value: str) -> VagrantSetting:
    return VagrantSetting("customize", (key, value))


def _mount(source: Path, target: str, mode: str) -> VagrantSetting:
    # fstab's own escape for a space (fstab(5)); LXC reads entries like fstab.
    escaped = str(source).replace(" ", "\\040")
    return _lxc("mount.entry", f"{escaped} {target} none bind,{mode},create=dir 0 0")

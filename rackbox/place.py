"""The lab's own place on this computer: a network namespace and a mount namespace that nothing else shares.

Bridges, probes, Vagrant and the containers live inside, so a lab never meets the host's networks, two labs can use the
same addresses, and removing the place removes all of it. Entry points: ``make_place``, ``enter_argv``,
``remove_place``.

The network namespace is ``rackbox-<lab>`` (``ip netns`` shows it). The mount namespace is kept alive by a bind mount on
``<runtime>/ns/mnt``; in it /sys shows the network namespace (LXC looks bridges up there), /sys/fs/cgroup is a view that
a container's systemd accepts (see ``cgroups``), the provider's own directories are the lab's (``Mount``) and
/etc/resolv.conf names the lab's gateway.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rackbox.cgroups import arrange_script
from rackbox.errors import CommandFailed, LabError
from rackbox.run import run

NETNS_DIR = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Place:
    """Names of one lab's namespaces. ``runtime`` is the lab's directory under /run."""

    lab: str
    runtime: Path

    @property
    def netns(self) -> str:
        return f"rackbox-{self.lab}"

    @property
    def net_file(self) -> Path:
        return NETNS_DIR / self.netns

    @property
    def mount_file(self) -> Path:
        return self.runtime / "ns" / "mnt"

    def exists(self) -> bool:
        return self.net_file.exists() and _is_namespace_file(self.mount_file)


@dataclass(frozen=True, slots=True)
class Mount:
    """What a path is inside the place: ``source``, a file or a directory; an empty directory in memory without one.
    Directories that are not there are made, on this computer, too."""

    target: Path
    source: Path | None = None

    def script(self) -> str:
        target = shlex.quote(str(self.target))
        if self.source is None:
            return f"mkdir -p {target} && mount -t tmpfs -o mode=0755 tmpfs {target}"
        source = shlex.quote(str(self.source))
        if self.source.is_file():
            return f"mount --bind {source} {target}"
        return f"mkdir -p {source} {target} && mount --bind {source} {target}"


def enter_argv(place: Place, argv: Sequence[str]) -> list[str]:
    """``argv`` wrapped to run inside the place."""
    return ["nsenter", f"--net={place.net_file}", f"--mount={place.mount_file}", f"--wdns={os.getcwd()}", "--", *argv]


def make_place(place: Place, *, mounts: Sequence[Mount], nameserver: str, domain: str) -> None:
    """Make both namespaces, empty of networks. ``mounts`` are what the provider finds inside. Idempotent."""
    if place.exists():
        return
    remove_place(place)
    holder = place.mount_file.parent
    holder.mkdir(parents=True, exist_ok=True)
    resolv = holder / "resolv.conf"
    resolv.write_text(f"# Inside lab {place.lab}: the gateway answers.\nnameserver {nameserver}\nsearch {domain}\n")
    run(["ip", "netns", "add", place.netns], timeout=10)
    # A namespace file can only be kept on a mount that does not propagate to the namespace itself.
    run(["mount", "--bind", str(holder), str(holder)], timeout=10)
    run(["mount", "--make-private", str(holder)], timeout=10)
    place.mount_file.touch()
    script = "\n".join(
        (
            "set -euo pipefail",
            arrange_script(),
            *(mount.script() for mount in mounts),
            "resolv=$(readlink -f /etc/resolv.conf || true)",
            f'if [ -f "$resolv" ]; then mount --bind {shlex.quote(str(resolv))} "$resolv"; fi',
            "ip link set lo up",
            # A machine's default route is the gateway; the place itself never forwards.
            "sysctl -qw net.ipv4.ip_forward=0",
        )
    )
    # "slave": what the host unmounts later is unmounted here too, and nothing done here reaches the host.
    unshare = ["unshare", f"--mount={place.mount_file}", "--propagation", "slave", "bash", "-c", script]
    _run_on_the_right_cpu(["nsenter", f"--net={place.net_file}", "--", *unshare])


def _run_on_the_right_cpu(argv: Sequence[str]) -> None:
    """Run what makes and keeps a mount namespace; it does nothing if the kernel says EINVAL.

    A mount namespace can only be kept inside one of a lower number (mnt_ns_loop in the kernel's fs/namespace.c). Since
    Linux 6.18 each CPU gives numbers from a range of its own, so where we are in a container, or in any other namespace
    than the first, it is luck. On the CPU where that one was made, a new number is always higher.
    """
    for cpu in ("", *map(str, sorted(os.sched_getaffinity(0)))):
        try:
            run([*(["taskset", "--cpu-list", cpu] if cpu else []), *argv], timeout=20)
        except CommandFailed as error:
            if "failed: Invalid argument" not in error.message:
                raise
            last = error
        else:
            return
    raise last


def add_bridge(place: Place, name: str, address: str | None) -> None:
    """A bridge inside the place, with the place's own address on it if it has one (``192.168.4.1/24``).

    Its MAC address is set, or else it would be the lowest of its ports' and change as machines come and go: who knew
    the place by the old one, like a balancer that calls the power switch, talks to nobody until ARP has been asked
    again, a second or more.
    """
    mac = stable_mac(f"{place.netns}/{name}")
    commands = [
        # No forward delay and no multicast snooping: a port that comes up must pass traffic at once.
        f"[ -e /sys/class/net/{name} ] ||"
        f" ip link add name {name} address {mac} type bridge forward_delay 0 mcast_snooping 0",
        f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1",
        f"ip link set dev {name} up",
    ]
    if address:
        commands.append(f"ip address replace {address} dev {name}")
    run(enter_argv(place, ["bash", "-euc", "\n".join(commands)]), timeout=10)


def stable_mac(name: str) -> str:
    """A locally administered unicast address (IEEE 802: bit 1 of the first octet), the same for the same name."""
    return "02:" + ":".join(f"{byte:02x}" for byte in hashlib.sha256(name.encode()).digest()[:5])


def add_route(place: Place, network: str, via: str) -> None:
    run(enter_argv(place, ["ip", "route", "replace", network, "via", via]), timeout=10)


def processes_in(place: Place) -> dict[int, str]:
    """Pid and command of every process whose network namespace is the place's own."""
    try:
        inode = place.net_file.stat().st_ino
    except FileNotFoundError:
        return {}
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (entry / "ns/net").stat().st_ino == inode:
                found[int(entry.name)] = (entry / "comm").read_text().strip()
    found.pop(os.getpid(), None)
    return found


def remove_place(place: Place) -> None:
    """End every process inside, then take the namespaces and their mounts away. Idempotent."""
    _end_processes(place)
    if _is_namespace_file(place.mount_file):
        run(["umount", str(place.mount_file)], timeout=10)
    holder = place.mount_file.parent
    while _is_mount_point(holder):
        run(["umount", "--lazy", str(holder)], timeout=10)
    if place.net_file.exists():
        run(["ip", "netns", "delete", place.netns], timeout=10)
    for name in ("mnt", "resolv.conf"):
        (holder / name).unlink(missing_ok=True)
    if holder.is_dir():
        holder.rmdir()


def _end_processes(place: Place) -> None:
    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)):
        for pid in processes_in(place):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while processes_in(place) and time.monotonic() < deadline:
            time.sleep(0.05)
    if left := processes_in(place):
        raise LabError(f"lab {place.lab}: processes that do not end: {left}", "run `./lab down` again")


def _is_mount_point(path: Path) -> bool:
    """Whether something is mounted there; ``os.path.ismount`` does not see a bind mount within one file system."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(path) for line in mounts)


def _is_namespace_file(path: Path) -> bool:
    """Whether a namespace is mounted on the file (nsfs), and not just an empty file left by a reboot."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except FileNotFoundError:
        return False

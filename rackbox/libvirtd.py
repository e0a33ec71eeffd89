"""The lab's own libvirtd: in the lab's place, with its own configuration, sockets, pool and networks.

Nothing of the computer's libvirt is used or touched: what is at /etc/libvirt, /var/lib/libvirt and /run/libvirt inside
the place are directories of the lab (``mounts``), so the default connection, ``qemu:///system``, is this daemon. It
needs neither systemd nor a bus. Entry points: ``mounts``, ``start_libvirtd``.

Networks are plain bridges, made by ``rackbox.place``: libvirt starts no dnsmasq and writes no firewall rule. Machines'
management addresses are in their seeds; vagrant-libvirt asks libvirt for leases, so they are told to it as such.
"""

from __future__ import annotations

import grp
import json
import pwd
from collections.abc import Sequence
from pathlib import Path

from rackbox.errors import LabError
from rackbox.paths import LabPaths
from rackbox.place import Mount, Place, enter_argv
from rackbox.run import run
from rackbox.topology import MANAGEMENT, Network, Topology
from rackbox.wait import NotYet, wait_for

QEMU_USER = "libvirt-qemu"
"""libvirtd does not start where this name is not known; Debian's libvirt-daemon-system makes it. QEMU does not run as
it here, so that the name alone is enough, and is made known in the place only."""
_QEMU_ID = 64055
POOL = "default"
IMAGES = Path("/var/lib/libvirt/images")
_FAR = 4102444800  # 2100-01-01

QEMU_CONF = """\
# Made by rackbox. The place is the lab's alone, and root's: so is QEMU, whose files are nobody else's.
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
# Containers and computers without systemd have no controllers to give, and no /dev of their own is needed.
cgroup_controllers = [ ]
namespaces = [ ]
# QEMU opens its log itself: no virtlogd.
stdio_handler = "file"
"""

LIBVIRTD_CONF = """\
# Made by rackbox.
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

POOL_XML = f"<pool type='dir'><name>{POOL}</name><target><path>{IMAGES}</path></target></pool>\n"


def images(paths: LabPaths) -> Path:
    """Where the lab's disks are, seen from outside of the place."""
    return _own(paths) / "lib/images"


def definitions(paths: LabPaths) -> Path:
    """One XML file for each machine that has been created."""
    return _own(paths) / "etc/qemu"


def pid_file(paths: LabPaths, machine: str) -> Path:
    """QEMU's, there while it runs."""
    return _run(paths) / "qemu" / f"{machine}.pid"


def mounts(paths: LabPaths) -> Sequence[Mount]:
    own = _own(paths)
    found = [
        Mount(Path("/etc/libvirt"), own / "etc"),
        Mount(Path("/var/lib/libvirt"), own / "lib"),
        Mount(Path("/var/log/libvirt"), paths.logs / "libvirt"),
        # What QEMU can do is found out once for all labs: it takes ten seconds.
        Mount(Path("/var/cache/libvirt"), paths.root.parents[1] / "cache/libvirt"),
        Mount(Path("/run/libvirt"), _run(paths)),
    ]
    own.mkdir(parents=True, exist_ok=True)
    for name, line in (
        ("passwd", f"{QEMU_USER}:x:{_QEMU_ID}:{_QEMU_ID}::/nonexistent:/usr/sbin/nologin"),
        ("group", f"{QEMU_USER}:x:{_QEMU_ID}:"),
    ):
        if not _is_known(name):
            (own / name).write_text(f"{Path('/etc', name).read_text().rstrip()}\n{line}\n")
            found.append(Mount(Path("/etc", name), own / name))
    return found


def is_running(paths: LabPaths, proc: Path = Path("/proc")) -> bool:
    try:
        pid = int((_run(paths) / "libvirtd.pid").read_text())
        return b"libvirtd" in (proc / str(pid) / "cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def start_libvirtd(place: Place, topology: Topology, paths: LabPaths) -> None:
    """The daemon, its pool and one network for each of the lab's bridges. Idempotent."""
    own = _own(paths)
    images(paths).mkdir(parents=True, exist_ok=True)
    (own / "lib/dnsmasq").mkdir(parents=True, exist_ok=True)
    (own / "etc/qemu.conf").write_text(QEMU_CONF)
    (own / "etc/libvirtd.conf").write_text(LIBVIRTD_CONF)
    (own / f"lib/dnsmasq/{MANAGEMENT}.status").write_text(leases_json(topology))
    if not is_running(paths):
        argv = ["libvirtd", "--daemon", "--pid-file", "/run/libvirt/libvirtd.pid"]
        run(enter_argv(place, argv), timeout=30)
        hint = f"see {paths.logs / 'libvirt/libvirtd.log'}"

        def probe() -> None:
            if not is_running(paths):
                raise LabError("the lab's libvirtd ended at once", hint)
            answer = run(enter_argv(place, ["virsh", "--quiet", "version"]), timeout=60, check=False)
            if not answer.ok:
                raise NotYet(answer.stderr.strip())

        wait_for("the lab's libvirtd", probe, timeout=60, hint=hint)
    _define(place, topology, own)


def network_xml(network: Network) -> str:
    """A network that is a bridge of ours. On the management network no machine reaches another (isolated ports)."""
    isolated = "<port isolated='yes'/>" if network.name == MANAGEMENT else ""
    bridge = f"<forward mode='bridge'/><bridge name='{network.name}'/>"
    return f"<network><name>{network.name}</name>{bridge}{isolated}</network>\n"


def leases_json(topology: Topology) -> str:
    """What libvirt's own helper would write for a dnsmasq of libvirt's (src/network/leaseshelper.c)."""
    leases = [
        {
            "mac-address": node.management.mac,
            "ip-address": str(node.management.address.ip),
            "hostname": node.name,
            "expiry-time": _FAR,
        }
        for node in topology.nodes
    ]
    return json.dumps(leases, indent=2) + "\n"


def _define(place: Place, topology: Topology, own: Path) -> None:
    known = set(run(enter_argv(place, ["virsh", "net-list", "--name"]), timeout=30).stdout.split())
    commands = []
    for network in topology.networks:
        if network.name not in known:
            file = own / f"network-{network.name}.xml"
            file.write_text(network_xml(network))
            commands += [f"net-define {_word(file)}", f"net-start {network.name}"]
    pools = run(enter_argv(place, ["virsh", "pool-list", "--name"]), timeout=30).stdout.split()
    if POOL not in pools:
        file = own / "pool.xml"
        file.write_text(POOL_XML)
        commands += [f"pool-define {_word(file)}", f"pool-start {POOL}"]
    if commands:
        run(enter_argv(place, ["virsh", "--quiet", "; ".join(commands)]), timeout=60)


def _word(path: Path) -> str:
    """A path as one word of a line that virsh splits."""
    return f'"{path}"'


def _is_known(table: str) -> bool:
    try:
        if table == "passwd":
            pwd.getpwnam(QEMU_USER)
        else:
            grp.getgrnam(QEMU_USER)
    except KeyError:
        return False
    return True


def _own(paths: LabPaths) -> Path:
    return paths.root / "libvirt"


def _run(paths: LabPaths) -> Path:
    return paths.runtime / "libvirt"

"""The view of /sys/fs/cgroup that a lab's containers are given.

systemd in the box wants the unified hierarchy (cgroup v2). A host with pure v2 has it; a host with v1 controllers has a
v2 tree beside them ("hybrid"), which boots the same machines but sees no controllers, so there is no memory or CPU
limit. Which view a lab ran under stands beside every figure.

The nodes of a cluster cannot do without controllers: a kubelet and a container runtime keep their containers in cgroups
with limits. On a host with v1 controllers they are therefore shown the v1 trees (by ``providers/lxc_files``), which
today's systemd takes only when it is told to (``LEGACY_SWITCH``). All other machines keep the v2 view: with v1,
there is no real time for Corosync in a container.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

CgroupView = Literal["v2", "hybrid-v2", "v1-only"]
NodeView = Literal["v2", "v1"]

# systemd(1) and its NEWS: from 256 on the legacy hierarchy needs this besides the switch of the kernel's command line.
LEGACY_SWITCH = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
LEGACY_INIT = f"/sbin/init systemd.unified_cgroup_hierarchy=0 {LEGACY_SWITCH}"

ROOT = Path("/sys/fs/cgroup")


def find_view(mounts: str) -> CgroupView:
    """The host's arrangement, from the text of /proc/mounts."""
    kinds = {(fields[1], fields[2]) for line in mounts.splitlines() if len(fields := line.split()) > 2}
    if (str(ROOT), "cgroup2") in kinds:
        return "v2"
    return "hybrid-v2" if any(kind == "cgroup2" for _, kind in kinds) else "v1-only"


def host_view() -> CgroupView:
    return find_view(Path("/proc/mounts").read_text())


def node_view() -> NodeView:
    """What the nodes of a cluster see on this host."""
    return "v2" if host_view() == "v2" else "v1"


def arrange_script() -> str:
    """Bash that, in a fresh mount namespace, shows the namespace's own /sys and a v2 /sys/fs/cgroup.

    sysfs is mounted again because it shows the network namespace of whoever mounts it.
    """
    return """umount --lazy --recursive /sys 2>/dev/null || umount --lazy /sys
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup"""

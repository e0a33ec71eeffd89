"""Volumes of virtual machines while they run: what a group holds, whether a change fits, growing one.

Entry points: ``check_change`` (pure) compares what a lab was booted from with what it is to be, ``plan_growth`` (pure)
and ``grow_volume`` are `invoke volume.grow`, ``check_room`` asks running machines. At boot, and when a lab's config has
changed, the machines' own hooks make and grow their volumes (``provision/common/05-make-volumes.sh``,
``06-make-pools.sh``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rackbox.durations import format_size, parse_size
from rackbox.errors import LabError, MachineError
from rackbox.machine import Machine
from rackbox.roles import BOX_DISK_MIB
from rackbox.topology import Node, Topology

GROUP = "rackbox"
_LOOK = """\
vgs --noheadings --nosuffix --units m --options vg_free,vg_extent_size {group}
lvs --noheadings --nosuffix --units m --options lv_name,lv_size {group}"""
_LOOK_SECONDS = 10.0
_GROW_SECONDS = 120.0
_THIN_MIB = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Group:
    """A machine's volume group, in MiB: what is free, how much an extent is, and the volumes' sizes."""

    free: int
    extent: int
    volumes: Mapping[str, int]

    def round_up(self, mib: int) -> int:
        """To whole extents, as LVM does it."""
        return -(-mib // self.extent) * self.extent


def parse_group(text: str) -> Group:
    """What ``_LOOK`` printed: a line of the group, then one a volume (fractions of a MiB are cut off)."""
    first, *rest = (line.split() for line in text.splitlines() if line.strip())
    return Group(int(float(first[0])), int(float(first[1])), {name: int(float(size)) for name, size in rest})


def read_group(machine: Machine, group: str = GROUP) -> Group:
    return parse_group(machine.run(_LOOK.format(group=group), timeout=_LOOK_SECONDS).stdout)


def group_of(node: Node, name: str) -> str:
    """The volume group that holds a machine's volume: its own disk's, or the machine's."""
    return f"{GROUP}_{name}" if name in {volume.name for volume in node.own_disks} else GROUP


def check_change(before: Topology, after: Topology) -> list[str]:
    """What the change of a lab's config would have to shrink, in words; nothing where it only grows."""
    machines = {node.name: node for node in before.nodes}
    found = []
    for node in after.nodes:
        if node.name not in machines:
            continue
        had = {volume.name: volume for volume in machines[node.name].volumes}
        if node.disk_mib < machines[node.name].disk_mib:
            was, now = (
                format_size(machines[node.name].disk_mib),
                format_size(node.disk_mib or BOX_DISK_MIB),
            )
            found.append(f"{node.name}: disk: must be {was} or more, as it is: it cannot shrink; got {now}")
        for volume in node.volumes:
            old = had.get(volume.name)
            if old is None and volume.disk_mib:
                text = "must be there when its machine is made, since it has a disk of its own"
                found.append(f"{node.name}: volume {volume.name}: {text}; got it anew")
            if old is not None and volume.size_mib < old.size_mib:
                was, now = format_size(old.size_mib), format_size(volume.size_mib)
                text = f"must be {was} or more, as it is: it cannot shrink; got {now}"
                found.append(f"{node.name}: volume {volume.name}: {text}")
            if old is not None and bool(volume.disk_mib) != bool(old.disk_mib):
                text = f"must {'keep its' if old.disk_mib else 'stay without a'} disk of its own"
                found.append(f"{node.name}: volume {volume.name}: {text}; got {format_size(volume.disk_mib)}")
            elif old is not None and volume.disk_mib < old.disk_mib:
                was, now = format_size(old.disk_mib), format_size(volume.disk_mib)
                text = f"its disk must be {was} or more, as it is: it cannot shrink; got {now}"
                found.append(f"{node.name}: volume {volume.name}: {text}")
            if old is not None and volume.mount != old.mount:
                found.append(f"{node.name}: volume {volume.name}: must stay at {old.mount}; got {volume.mount}")
    return found


def check_room(node: Node, group: Group, coming: int = 0) -> str:
    """Why a machine's group cannot hold what the config asks for; "" where it can. ``coming``: MiB by which its disk is
    to grow first."""
    more = {
        volume.name: group.round_up(volume.size_mib) - group.volumes.get(volume.name, 0)
        for volume in node.volumes
        if not volume.disk_mib and group.round_up(volume.size_mib) > group.volumes.get(volume.name, 0)
    }
    if sum(more.values()) <= group.free + coming:
        return ""
    wanted = ", ".join(f"{name} {format_size(mib)} more" for name, mib in more.items())
    free = format_size(group.free + coming)
    return f"{node.name}: volumes: must need no more than the {free} that group {GROUP} has left; got {wanted}"


def parse_wish(text: str) -> int:
    """MiB of a size as given on the command line."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise LabError(f"SIZE: {error}; got {text}") from error


def plan_growth(node: str, name: str, wanted: int, group: Group) -> int:
    """MiB to be added to a volume so that it has ``wanted``, 0 where it has that. Raises ``LabError`` with the figures
    when it would have to shrink, or when the group has not that much left."""
    if name not in group.volumes:
        raise LabError(f"{node}: has no volume {name}", f"its volumes: {', '.join(sorted(group.volumes))}")
    has, wanted = group.volumes[name], group.round_up(wanted)
    if wanted < has:
        raise LabError(
            f"{node}: volume {name}: must be {format_size(has)} or more, as it is: it cannot shrink; "
            f"got {format_size(wanted)}"
        )
    if wanted - has > group.free:
        raise LabError(
            f"{node}: volume {name}: must be {format_size(has + group.free)} or less: it has {format_size(has)}, and "
            f"group {GROUP} has {format_size(group.free)} left; got {format_size(wanted)}",
            "ask for less",
        )
    return wanted - has


def grow_volume(machine: Machine, name: str, wanted: int) -> tuple[int, int]:
    """Grow a volume and its file system, live; what it had and what it has, in MiB."""
    within = group_of(machine.node, name)
    group = read_group(machine, within)
    node = machine.node.name
    if within != GROUP:  # thin: it may be promised more than there is, and `status` warns before the pool is full
        group = replace(group, free=_THIN_MIB)
    more = plan_growth(node, name, wanted, group)
    if more:
        size = group.volumes[name] + more
        machine.run(f"lvextend --quiet --resizefs --size {size}m {within}/{name}", timeout=_GROW_SECONDS)
        now = read_group(machine, within).volumes[name]
        if now < size:
            raise MachineError(f"{node}: volume {name}: must have {size} MiB now; has {now}")
    return group.volumes[name], group.volumes[name] + more


def refuse(problems: Sequence[str], source: str) -> None:
    """Raise ``LabError`` with all of them, if there are any."""
    if problems:
        raise LabError("\n".join(f"{source}: {problem}" for problem in problems), "volumes only ever grow")

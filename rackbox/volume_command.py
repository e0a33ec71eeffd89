"""`invoke volume.grow`, and the look at volumes before an `up` changes anything. Entry points: ``grow``,
``check_volumes``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rackbox.consoles import open_console
from rackbox.durations import format_size
from rackbox.errors import EXIT_OK, LabError
from rackbox.lab import LiveLab, lab_lock, open_lab
from rackbox.load import load_topology
from rackbox.providers import PROVIDERS, Provider, open_provider
from rackbox.roles import BOX_DISK_MIB
from rackbox.volumes import check_change, check_room, group_of, grow_volume, parse_wish, read_group, refuse

VOLUMES = "LVM volumes"


def grow(lab_file: Path, node: str, volume: str, size: str) -> int:
    """0 grown, or large enough already; 1 the machine could not; 3 it may not be done."""
    wanted = parse_wish(size)
    lab = open_lab(lab_file)
    lab.require_node(node)
    lab.require_up()
    require(lab, VOLUMES)
    with lab_lock(lab.paths):
        had, has = grow_volume(lab.machine(node), volume, wanted)
    console = open_console(stderr=True)
    if had == has:
        console.print(f"{node}: volume {volume} has {format_size(has)}: nothing to do")
        return EXIT_OK
    full = f"{group_of(lab.topology.node(node), volume)}/{volume}"
    console.print(f"[green]✓[/] {node}: volume {full} grown from {format_size(had)} to {format_size(has)}")
    written = next((item.size_mib for item in lab.topology.node(node).volumes if item.name == volume), 0)
    if written < has:
        key = f"nodes.{lab.topology.node(node).role}.volumes.{volume}"
        console.print(f"  {lab_file} says less: set {key}, or a machine that is made anew starts with less")
    return EXIT_OK


def check_volumes(lab: LiveLab) -> None:
    """Raise, before anything is touched, when a changed config would have volumes of machines that are there shrink or
    move, or grow beyond what is left."""
    if not can(lab, VOLUMES) or not lab.paths.booted.exists():
        return
    existing = lab.provider.existing(lab.topology, lab.paths)
    before = load_topology(lab.paths.booted)
    before = replace(before, nodes=tuple(node for node in before.nodes if node.name in existing))
    refuse(check_change(before, lab.topology), str(lab.file))
    old = {node.name: node for node in before.nodes}
    running = lab.provider.running(lab.topology, lab.paths)
    changed = [
        node for node in lab.topology.nodes if node.name in running and node.volumes != old.get(node.name, node).volumes
    ]
    if changed:
        with ThreadPoolExecutor(max_workers=len(changed)) as pool:
            groups = list(pool.map(lambda node: read_group(lab.machine(node.name)), changed))
        short = [
            check_room(node, group, (node.disk_mib or BOX_DISK_MIB) - (old[node.name].disk_mib or BOX_DISK_MIB))
            for node, group in zip(changed, groups, strict=True)
        ]
        refuse([problem for problem in short if problem], str(lab.file))


def can(lab: LiveLab, capability: str) -> bool:
    return capability in _abilities(lab.provider)


def require(lab: LiveLab, capability: str) -> None:
    """Raise unless the lab's provider can do that."""
    if not can(lab, capability):
        note = next((f": {item.note}" for item in lab.provider.capabilities if item.name == capability), "")
        able = [name for name in PROVIDERS if capability in _abilities(open_provider(name))]
        hint = " or ".join(f"`provider: {name}`" for name in able)
        raise LabError(f"provider {lab.provider.name}: no {capability}{note}", f"{hint} can" if able else "")


def _abilities(provider: Provider) -> set[str]:
    return {item.name for item in provider.capabilities if item.available}

"""`invoke snapshot.*`: the whole lab as it was at one moment, memory and disks of all machines, and back to it.

All machines are paused first, so that what is saved is one moment of all of them; then each machine's memory is written
and its disk copied, all at the same time. Back: the same files, all machines paused until the last one is there, their
clocks set to now and their leases asked for anew.

A snapshot is ``<lab>/snapshots/<name>/`` with a disk and a memory image for each machine and ``snapshot.json``, written
last: without it there is none.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from rackbox.box import write_whole
from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, LabError
from rackbox.fencing import start_fencing, stop_fencing
from rackbox.forwarding import start_forwarders
from rackbox.lab import LiveLab, lab_lock, open_lab, plug_in
from rackbox.paths import LabPaths
from rackbox.progress import Steps
from rackbox.show import write_json
from rackbox.state import LabState, save_state
from rackbox.topology import Node
from rackbox.volume_command import require

SCHEMA = 1
HEALTHY_SECONDS = 60.0
CAPABILITY = "snapshots while it runs"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?")
# A clock that was stopped is as late as the snapshot is old; leases count by it.
_PUT_RIGHT = """\
date --utc --set=@{now} >/dev/null
. /etc/rackbox/env
for nic in $RACKBOX_DHCP_NICS; do networkctl renew "$nic"; done
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was saved. ``taken`` is UTC, ``bytes`` what it takes up, ``digests`` what each machine was made of."""

    name: str
    taken: str
    box_version: str
    machines: tuple[str, ...]
    digests: dict[str, str]
    bytes: int


def save_command(lab_file: Path, name: str) -> int:
    """0 saved, and the lab goes on; 3 it cannot be done."""
    lab = _open(lab_file, name)
    steps = Steps(open_console(stderr=True))
    with lab_lock(lab.paths):
        lab.require_up()
        save_lab(lab, name, steps)
    return EXIT_OK


def restore_command(lab_file: Path, name: str) -> int:
    """0 restored and healthy."""
    lab = _open(lab_file, name)
    console = open_console(stderr=True)
    started = time.monotonic()
    with lab_lock(lab.paths):
        lab.check_access()
        snapshot = load_snapshot(lab.paths, name)
        restore_lab(lab, snapshot, Steps(console))
    console.print(f"lab {lab.topology.lab} is as it was at {snapshot.taken}, after {time.monotonic() - started:.1f} s")
    return EXIT_OK


def list_command(lab_file: Path, as_json: bool) -> int:
    snapshots = list_snapshots(open_lab(lab_file).paths)
    if as_json:
        write_json({"schema": SCHEMA, "snapshots": [asdict(item) for item in snapshots]}, None)
        return EXIT_OK
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("name", "taken (UTC)", "machines", "MiB", "box"):
        table.add_column(column, no_wrap=True)
    for item in snapshots:
        table.add_row(item.name, item.taken, str(len(item.machines)), str(item.bytes >> 20), item.box_version)
    open_console().print(table if snapshots else "no snapshots")
    return EXIT_OK


def remove_command(lab_file: Path, name: str) -> int:
    lab = _open(lab_file, name)
    with lab_lock(lab.paths):
        load_snapshot(lab.paths, name)
        shutil.rmtree(_directory(lab.paths, name))
    return EXIT_OK


def save_lab(lab: LiveLab, name: str, steps: Steps) -> Snapshot:
    """Save a lab whose machines all run. They run on afterwards, whatever happens."""
    nodes = lab.topology.nodes
    running = lab.provider.running(lab.topology, lab.paths)
    if off := sorted({node.name for node in nodes} - running):
        raise LabError(f"lab {lab.topology.lab}: {', '.join(off)} without power", "bring it up first: `./lab up`")
    directory = _directory(lab.paths, name)
    part = directory.with_name(f"{name}.part")
    shutil.rmtree(part, ignore_errors=True)
    _check_room(lab, part)
    part.mkdir(parents=True, mode=0o700)
    for node in nodes:
        lab.connections.close(node.name)  # the other end would be older than this one
    stop_fencing(lab.paths)  # or the cluster may have one switched off that is only being saved
    try:
        try:
            with steps.step(f"{len(nodes)} machines paused"):
                _each(lab, lambda node: lab.provider.freeze(lab.topology, node))
            with steps.step("memory and disks saved"):
                _each(lab, lambda node: lab.provider.save_machine(lab.topology, node, lab.paths, part))
        except BaseException:
            # Who was saved already lies on disk only: bring it back before anything else.
            _each(lab, lambda node: lab.provider.load_machine(lab.topology, node, lab.paths, part, disk=False))
            raise
        else:
            with steps.step("machines back"):
                _each(lab, lambda node: lab.provider.load_machine(lab.topology, node, lab.paths, part, disk=False))
    finally:
        _each(lab, lambda node: lab.provider.thaw(lab.topology, node))
        start_fencing(lab)
        _put_right(lab)
    state = lab.state
    size = sum(file.stat().st_blocks * 512 for file in part.iterdir())
    snapshot = Snapshot(
        name,
        datetime.now(UTC).isoformat(timespec="seconds"),
        state.box_version if state else "",
        tuple(node.name for node in nodes),
        dict(state.digests) if state else {},
        size,
    )
    shutil.rmtree(directory, ignore_errors=True)
    part.rename(directory)
    write_whole(directory / "snapshot.json", json.dumps({"schema": SCHEMA, **asdict(snapshot)}, indent=2) + "\n")
    with steps.step("healthy"):
        lab.wait_healthy(HEALTHY_SECONDS * lab.provider.patience)
    return snapshot


def restore_lab(lab: LiveLab, snapshot: Snapshot, steps: Steps) -> None:
    """Whatever the machines are doing now is lost."""
    names = tuple(node.name for node in lab.topology.nodes)
    if names != snapshot.machines:
        raise LabError(
            f"snapshot {snapshot.name}: must have the lab's machines ({', '.join(names)}); has "
            f"{', '.join(snapshot.machines)}",
            "give the lab's file the machines of then",
        )
    directory = _directory(lab.paths, snapshot.name)
    stop_fencing(lab.paths)
    with steps.step("networks made"):
        lab.provider.prepare(lab.topology, lab.paths)
    if missing := set(names) - lab.provider.existing(lab.topology, lab.paths):
        raise LabError(f"lab {lab.topology.lab}: {', '.join(sorted(missing))} not there", "make it first: `./lab up`")
    with steps.step(f"{len(names)} machines off"):
        _each(lab, lambda node: lab.connections.close(node.name))
        _each(lab, lambda node: lab.provider.power_off(lab.topology, node))
    with steps.step("memory and disks put back"):
        _each(lab, lambda node: lab.provider.load_machine(lab.topology, node, lab.paths, directory, disk=True))
    with steps.step("machines go on"):
        _each(lab, lambda node: lab.provider.thaw(lab.topology, node))
        for name in names:
            plug_in(lab.paths, name)
    with steps.step("clocks set, leases renewed"):
        start_fencing(lab)
        _put_right(lab)
    state = lab.state or LabState(lab.topology.lab, str(lab.file.resolve()), lab.provider.name)
    pid = start_forwarders(lab, state.forward_pid)
    digests = {**state.digests, **snapshot.digests}
    save_state(lab.paths.state, state.with_(phase="up", digests=digests, failed=(), forward_pid=pid))
    with steps.step("healthy"):
        lab.wait_healthy(HEALTHY_SECONDS * lab.provider.patience)


def list_snapshots(paths: LabPaths) -> list[Snapshot]:
    """Oldest first."""
    found = [load_snapshot(paths, file.parent.name) for file in (paths.root / "snapshots").glob("*/snapshot.json")]
    return sorted(found, key=lambda item: item.taken)


def load_snapshot(paths: LabPaths, name: str) -> Snapshot:
    path = _directory(paths, name) / "snapshot.json"
    try:
        data = json.loads(path.read_text())
        if data.pop("schema") != SCHEMA:
            raise ValueError(f"not of schema {SCHEMA}")
        return Snapshot(**{**data, "machines": tuple(data["machines"])})
    except FileNotFoundError:
        there = ", ".join(sorted(file.parent.name for file in path.parent.parent.glob("*/snapshot.json")))
        raise LabError(f"no snapshot {name}", f"there is: {there or 'none'}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path}: cannot be read: {error}", f"remove {path.parent}") from error


def _open(lab_file: Path, name: str) -> LiveLab:
    if not _NAME.fullmatch(name):
        raise LabError(f"--tag: must be of a-z, 0-9, inner dots and hyphens, at most 40 long; got {name}")
    lab = open_lab(lab_file)
    require(lab, CAPABILITY)
    return lab


def _check_room(lab: LiveLab, directory: Path) -> None:
    """Memory and disks, at most as large as they can be now."""
    needed = sum(node.memory_mib for node in lab.topology.nodes) + lab.provider.disk_usage_mib(lab.paths)
    free = shutil.disk_usage(lab.paths.root).free >> 20
    if free < needed:
        raise LabError(f"{directory.parent}: must have {needed} MiB free for a snapshot; has {free}", "make room")


def _put_right(lab: LiveLab) -> None:
    def mend(node: Node) -> None:
        lab.connections.open(node.name)  # which may take seconds: the time is told when somebody listens
        lab.machine(node.name).run(_PUT_RIGHT.format(now=f"{time.time():.3f}"), timeout=20)

    _each(lab, mend)


def _each(lab: LiveLab, act: Callable[[Node], object]) -> None:
    with ThreadPoolExecutor(max_workers=len(lab.topology.nodes)) as pool:
        list(pool.map(act, lab.topology.nodes))


def _directory(paths: LabPaths, name: str) -> Path:
    return paths.root / "snapshots" / name

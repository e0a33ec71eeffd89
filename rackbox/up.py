"""Brings a lab up: from a topology to healthy machines, all at the same time. Entry point: ``bring_up``.

Safe to run again: what is there and right is left alone. After a failure, ``resume`` keeps the unfinished machines and
runs their hooks again; without it they are made anew.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from rich.console import Console

from rackbox.box import Box, check_box, current_box, metadata_of
from rackbox.catalogue import find_version, list_versions
from rackbox.consoles import open_console
from rackbox.errors import EXIT_FAILED, EXIT_OK, LabError
from rackbox.fencing import start_fencing
from rackbox.follow import follow_provisioning
from rackbox.forwarding import start_forwarders
from rackbox.handover import welcome
from rackbox.health import LabHealth
from rackbox.image import build_image
from rackbox.image_store import share_images
from rackbox.kubeconfig import write_kubeconfig
from rackbox.kubernetes_preflight import check_files, check_room
from rackbox.lab import LiveLab, lab_lock, open_lab, plug_in
from rackbox.labfiles import render_files
from rackbox.leaving import check_masters, forget_gone, leave
from rackbox.locks import hold_lock
from rackbox.progress import MachineBoard, Steps
from rackbox.providers import IN_PLACE
from rackbox.render import write_rendered
from rackbox.runtimes import runtime_of
from rackbox.state import LabState, save_state
from rackbox.status import print_health
from rackbox.templating import RenderedFile
from rackbox.tools import check_tools, works
from rackbox.topology import Node
from rackbox.vagrant_adapter import VagrantAdapter
from rackbox.volume_command import can, check_volumes, require

HEALTHY_TIMEOUT = 90.0
"""Seconds from the last hook's end until services have found each other: elections, peers, mounts."""
CLUSTER_TIMEOUT = 240.0
"""The same for a lab with a cluster, whose pods start last."""
PROVISION_TIMEOUT = 300.0
CLUSTER_PROVISION_TIMEOUT = 600.0
LAST_WORDS_TIMEOUT = 9.0
"""Seconds after Vagrant has failed in which a machine that went away is noticed: SSH's own 6 s and a bit."""


def command(
    lab_file: Path, provider: str, resume: bool, renew: bool = False, machines: Sequence[str] = (), version: str = ""
) -> int:
    """`invoke up`: 0 healthy, 1 not, 3 could not run. ``machines`` are to be renewed whatever their box."""
    console = open_console(stderr=True)
    lab = open_lab(lab_file, provider, works)
    if lab.choice is not None and lab.choice.to_fetch and lab.topology.kubernetes is not None:
        from rackbox.package_source import fetch_packages

        console.print(f"Kubernetes {lab.choice.words}", soft_wrap=True)
        fetch_packages(lab.home, lab.topology.kubernetes, console)
        lab = open_lab(lab_file, provider, works)
    box = find_version(lab.home, lab.topology.os, lab.provider.name, version).box if version else None
    for name in machines:
        lab.require_node(name)
    if renew or machines:
        require(lab, IN_PLACE)
    health = bring_up(lab, console, resume=resume, box=box)
    if renew or machines:
        from rackbox.renew import renew_lab

        return renew_lab(lab, console, machines)  # which begins with no machine before all are healthy
    return EXIT_OK if health.verdict == "healthy" else EXIT_FAILED


def bring_up(lab: LiveLab, console: Console, *, resume: bool = False, box: Box | None = None) -> LabHealth:
    """Boot what is not running, change what has changed, and wait until the whole is healthy. ``box`` is the version to
    boot, whatever its state; without one, the current one."""
    started = time.monotonic()
    check_tools(lab.provider.name)
    with lab_lock(lab.paths):
        lab.check_access()
        state = _check_state(lab)
        _check_kubernetes(lab, state, console)
        box = _check_box_fits(lab, state, box) if box else _find_box(lab, state, console)
        files = render_files(lab, box, lab.paths.rendered)
        digests = find_digests(lab, files)
        if state.phase == "up" and state.digests == digests and (health := _already_healthy(lab)):
            console.print(f"lab {lab.topology.lab} is up and healthy: nothing to do")
            return health
        _boot(lab, box, files, _with_origins(lab, state, box), digests, console, resume)
        with Steps(console).step("healthy"):
            limit = CLUSTER_TIMEOUT if lab.topology.kubernetes else HEALTHY_TIMEOUT
            health = lab.wait_healthy(limit * lab.provider.patience)
    if not console.quiet:
        print_health(lab, health, open_console(stderr=True))
    console.print(f"lab {lab.topology.lab} is up after {time.monotonic() - started:.1f} s")
    return health


def _boot(
    lab: LiveLab,
    box: Box,
    files: Mapping[str, RenderedFile],
    state: LabState,
    digests: Mapping[str, str],
    console: Console,
    resume: bool,
) -> None:
    steps = Steps(console)
    vagrant = open_vagrant(lab)
    if lab.provider.remark:
        console.print(lab.provider.remark, soft_wrap=True)
    check_volumes(lab)
    lab.keep_origin()
    save_state(lab.paths.state, state.with_(phase="starting"))
    with steps.step("networks made"):
        lab.provider.prepare(lab.topology, lab.paths)
    share_images(lab, steps)
    existing = lab.provider.existing(lab.topology, lab.paths)
    if gone := sorted(existing - {node.name for node in lab.topology.nodes}):
        leave(lab, state, gone, lab.provider.running(lab.topology, lab.paths), steps)
        with steps.step(f"removed {', '.join(gone)}"):  # while the Vagrantfile still names them
            _remove_machines(lab, vagrant, gone)
    with steps.step("files written"):
        write_rendered(files, lab.paths.rendered)
    _install_box(lab, box, vagrant, steps)
    start_fencing(lab)
    if not resume:
        _remove_unfinished(lab, vagrant, state, existing, steps)
    start, changed = _find_work(lab, state, digests)
    _provision_all_again(lab, changed)
    board = MachineBoard(console, [node.name for node in (*start, *changed)])
    try:
        _start_machines(lab, vagrant, start, changed, board)
    except BaseException:
        failed = tuple(board.unfinished())
        save_state(lab.paths.state, state.with_(phase="failed", digests=dict(digests), failed=failed))
        raise
    pid = start_forwarders(lab, state.forward_pid)
    write_kubeconfig(lab)
    for node in (node for node in lab.topology.nodes if node.name in state.failed):
        welcome(lab, node)  # it may have taken its leave for a renewal that was broken off
    if existing:
        forget_gone(lab, state)
    masters = tuple(node.name for node in lab.topology.by_role("master"))
    stacked = lab.topology.has_stacked_etcd
    done = state.with_(phase="up", digests=dict(digests), failed=(), forward_pid=pid, masters=masters, stacked=stacked)
    save_state(lab.paths.state, done.with_(founders=state.founders or masters))
    shutil.rmtree(lab.paths.kept, ignore_errors=True)  # of a renewal that was killed; whoever needed it has it


def take_box(lab: LiveLab, box: Box, steps: Steps) -> VagrantAdapter:
    """Have machines that are made from now on stand on ``box``; those that are there stay as they are."""
    write_rendered(render_files(lab, box, lab.paths.rendered), lab.paths.rendered)
    vagrant = open_vagrant(lab)
    _install_box(lab, box, vagrant, steps)
    return vagrant


def remake_machine(lab: LiveLab, vagrant: VagrantAdapter, node: Node) -> None:
    """Remove one machine, make it anew and wait until it has provisioned itself. Its volumes stay."""
    _remove_machines(lab, vagrant, [node.name])
    _start_machines(lab, vagrant, [node], [], MachineBoard(Console(quiet=True), [node.name]))


def _install_box(lab: LiveLab, box: Box, vagrant: VagrantAdapter, steps: Steps) -> None:
    """Have Vagrant install the box, unless it has. One lab at a time: installing begins with removing."""
    installed = vagrant.box_directory(box.name, box.version)
    with hold_lock(lab.home.vagrant / "boxes.lock"):
        if not (vagrant.has_box(box.name, box.version) and lab.provider.is_box_whole(box, installed)):
            with steps.step(f"box {box.name} {box.version} installed"):
                check_box(box)
                vagrant.add_box(box.name, metadata_of(lab.home.boxes, box), box.version)
        lab.provider.take_box(lab.topology, box, installed, lab.paths)


def _start_machines(
    lab: LiveLab, vagrant: VagrantAdapter, start: Sequence[Node], changed: Sequence[Node], board: MachineBoard
) -> None:
    """Vagrant boots the machines while each machine's own progress is followed: they provision themselves."""
    nodes = [*start, *changed]
    if not nodes:
        return
    for node in start:
        lab.connections.close(node.name)
        plug_in(lab.paths, node.name)
        lab.provider.before_boot(lab.topology, node, lab.paths)
    stop = threading.Event()
    limit = CLUSTER_PROVISION_TIMEOUT if lab.topology.kubernetes else PROVISION_TIMEOUT
    limit *= lab.provider.patience
    with board:
        pool = ThreadPoolExecutor(max_workers=len(nodes) + 1)
        try:
            follow = [pool.submit(follow_provisioning, lab, node, board, stop, limit) for node in nodes]
            boot = [pool.submit(vagrant.up, [node.name for node in start])] if start else []
            wait([*follow, *boot], return_when=FIRST_EXCEPTION)
            if any(job.done() and job.exception() for job in boot) and board.unfinished():
                # Vagrant often sees first that a machine is gone; who follows it can say where it was.
                wait(follow, timeout=LAST_WORDS_TIMEOUT, return_when=FIRST_EXCEPTION)
            for job in (*follow, *boot):
                if job.done():
                    job.result()
        finally:
            stop.set()
            vagrant.stop()
            pool.shutdown(wait=True, cancel_futures=True)


def _find_work(lab: LiveLab, state: LabState, digests: Mapping[str, str]) -> tuple[list[Node], list[Node]]:
    """The machines that are off, and those that run and are not what they were, or have failed."""
    running = lab.provider.running(lab.topology, lab.paths)
    start = [node for node in lab.topology.nodes if node.name not in running]
    changed = [
        node
        for node in lab.topology.nodes
        if node.name in running and (state.digests.get(node.name) != digests[node.name] or node.name in state.failed)
    ]
    return start, changed


def _provision_all_again(lab: LiveLab, nodes: Sequence[Node]) -> None:
    if nodes:
        with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
            list(pool.map(partial(_provision_again, lab), nodes))


def _provision_again(lab: LiveLab, node: Node) -> None:
    """Bring a running machine's files up to date and run its hooks again."""
    seed, fetch = lab.provider.seed_in_guest, ""
    if not seed:  # it sees what it was booted with: it is told
        seed = "/run/rackbox/seed"
        text = (lab.paths.rendered / "nodes" / node.name / "user-data").read_bytes()
        fetch = (
            f"umask 077; mkdir -p {seed}; base64 -d >{seed}/user-data <<'END'\n{base64.encodebytes(text).decode()}END"
        )
    lab.provider.fit_disks(lab.topology, node, lab.paths)
    script = f"""{fetch}
[ -e /run/cloud-init/result.json ] || cloud-init status --wait >/dev/null || true
rm -f /run/rackbox/progress.jsonl
cloud-init single --name write_files --frequency always --file {seed}/user-data >/dev/null
systemctl restart --no-block rackbox-provision.service"""
    lab.connections.run(node.name, script, timeout=60 * lab.provider.patience)


def _remove_machines(lab: LiveLab, vagrant: VagrantAdapter, names: Sequence[str]) -> None:
    for name in names:
        lab.connections.close(name)
    lab.provider.before_removal(lab.topology, names, lab.paths)
    vagrant.destroy(names)


def _remove_unfinished(
    lab: LiveLab, vagrant: VagrantAdapter, state: LabState, existing: frozenset[str], steps: Steps
) -> None:
    """Machines that are to be made anew: those that failed, and after an `up` that was killed, which has not even said
    who failed, those that were never finished."""
    lost = existing - state.digests.keys() if state.phase == "starting" else frozenset()
    anew = [node.name for node in lab.topology.nodes if node.name in existing & {*state.failed, *lost}]
    if not anew:
        return
    with steps.step(f"removed {', '.join(anew)}, to be made anew"):
        _remove_machines(lab, vagrant, anew)


def _already_healthy(lab: LiveLab) -> LabHealth | None:
    if not lab.provider.is_prepared(lab.topology, lab.paths):
        return None
    if lab.provider.running(lab.topology, lab.paths) < {node.name for node in lab.topology.nodes}:
        return None  # seconds sooner than by asking machines that are off
    health = lab.read_health()
    if health.verdict != "healthy":
        return None
    lab.provider.share_alike(lab.topology, lab.paths)  # whoever switched one on may have been killed since
    return health


def _check_state(lab: LiveLab) -> LabState:
    """The lab's state, or a new one. Two files must not name the same lab."""
    file = str(lab.file.resolve())
    state = lab.state
    if state is None or state.phase == "absent":
        return LabState(lab.topology.lab, file, lab.provider.name)
    if state.lab_file != file:
        raise LabError(
            f"lab {lab.topology.lab} was made from {state.lab_file}; got {file}",
            "give one of them another `name:`, or take the other down first",
        )
    return state


def _with_origins(lab: LiveLab, state: LabState, box: Box) -> LabState:
    """The state with what the machines are made from."""
    release = lab.choice.release if lab.choice else None
    bundle, runtime = str(release.directory) if release else "", runtime_of(lab.topology).name
    return state.with_(box=box.name, box_version=box.version, bundle=bundle, runtime=runtime)


def _check_kubernetes(lab: LiveLab, state: LabState, console: Console) -> None:
    """Say where Kubernetes comes from and why, and look at all that would only show once machines run."""
    if lab.choice is not None:
        console.print(f"Kubernetes {lab.choice.words}", soft_wrap=True)
    if state.phase != "absent" and lab.provider.existing(lab.topology, lab.paths):
        check_cluster(lab, state)
    check_masters(lab, state)
    if lab.choice is None or lab.choice.release is None:
        return
    if not lab.provider.running(lab.topology, lab.paths):
        check_room(lab.topology)
    check_files(lab.choice.release)


def check_cluster(lab: LiveLab, state: LabState) -> None:
    """Raise unless a lab that has machines keeps its cluster and what runs the containers there, or has neither."""
    cluster, runtime = lab.topology.kubernetes is not None, runtime_of(lab.topology).name
    if cluster != bool(state.bundle):
        was = "with" if state.bundle else "without"
        text = f"lab {lab.topology.lab} was made {was} Kubernetes, and its machines cannot be turned into others"
        raise LabError(text, f"take it down first: `./lab down --lab {lab.file}`")
    if cluster and runtime != state.runtime:
        text = f"kubernetes.runtime: must stay {state.runtime}, as long as the lab has its machines; got {runtime}"
        raise LabError(text, f"put it back, or take {lab.topology.lab} down first")


def _find_box(lab: LiveLab, state: LabState, console: Console) -> Box:
    """The current box, built if there is none: the lab that comes up next is its proof. A lab that has machines stays
    on the box that they are overlays of, whatever has become of it in the catalogue."""
    os_name, provider = lab.topology.os, lab.provider.name
    current = current_box(lab.home.boxes, os_name, provider)
    if current is None:
        console.print(f"no box of {os_name} for {provider} yet: building one")
        return build_image(lab.home, os_name, provider, console)
    if current.version == state.box_version or not lab.provider.existing(lab.topology, lab.paths):
        return current
    versions = list_versions(lab.home, os_name, provider)
    own = next((item.box for item in versions if item.version == state.box_version), None)
    if own is None:
        return current
    hint = "`./lab up --renew` takes it" if can(lab, IN_PLACE) else "`./lab down` and `./lab up` take it"
    console.print(f"lab {lab.topology.lab} stays on box {own.version}; {current.version} is current: {hint}")
    return own


def _check_box_fits(lab: LiveLab, state: LabState, box: Box) -> Box:
    """A version that was asked for by name; machines that stand on another one are not moved by that."""
    if state.box_version not in ("", box.version) and lab.provider.existing(lab.topology, lab.paths):
        raise LabError(
            f"lab {lab.topology.lab} stands on box {state.box_version}; got {box.version}", "take the lab down first"
        )
    return box


def find_digests(lab: LiveLab, files: Mapping[str, RenderedFile]) -> dict[str, str]:
    """What each machine is made from, as a digest of its seed; and the one thing about the place that may change."""
    digests: dict[str, str] = {"(uplink)": lab.topology.uplink}
    for node in lab.topology.nodes:
        digest = hashlib.sha256()
        for name in ("user-data", "network-config"):
            digest.update(files[f"nodes/{node.name}/{name}"].data)
        digests[node.name] = digest.hexdigest()
    return digests


def open_vagrant(lab: LiveLab) -> VagrantAdapter:
    return VagrantAdapter(
        lab.paths.rendered,
        vagrant_home=lab.home.vagrant,
        provider=lab.provider.name,
        log=lab.paths.logs / "vagrant.log",
        wrap=lambda argv: lab.provider.host_argv(lab.topology, argv),
        patience=lab.provider.patience,
    )

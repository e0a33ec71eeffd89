"""The gate: what a new box must do before anybody gets it. Entry point: ``prove``.

First its tree is looked through for what machines must not share. Then a lab with a name of its own is booted from it:
it must become healthy, every machine says from inside whether it came up clean, and the floating IP must move within
budget. The first stage that finds something ends it; what was seen stays beside the box.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml
from rich.console import Console

from rackbox.bootproof import Hardware, boot_clones
from rackbox.box import Box, sha256_of, write_whole
from rackbox.disk import kept_disk
from rackbox.down import tear_down
from rackbox.errors import CommandFailed, LabError
from rackbox.failover import describe_run, failover_test
from rackbox.lab import LiveLab, lab_lock
from rackbox.layout import load_layout
from rackbox.load import load_topology
from rackbox.machinesmoke import judge_box, read_figures
from rackbox.packing import KINDS, unpack_disk
from rackbox.paths import PROJECT, Home
from rackbox.providers import open_provider
from rackbox.report import FailoverReport
from rackbox.smoke import SCRIPT, SMOKE_TIMEOUT, judge_machines
from rackbox.state import load_state
from rackbox.treecheck import check_tree

LAB = PROJECT / "config" / "small.yaml"
OTHER_LAB = "RACKBOX_GATE_LAB"
"""Names a lab's file to be used instead: other machines, or budgets that a slow computer can keep."""
SCENARIOS = ("haproxy-killed", "holder-powered-off")
TRIES = 3
"""How often Vagrant may try to boot the lab, and a scenario be played until it holds: a computer that is busy for a
moment is no fault of the box."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """``problems`` is empty for a box that may be promoted. ``figures``: numbers by name, milliseconds and seconds."""

    problems: tuple[str, ...]
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(slots=True)
class _Course:
    """What the stages share: the box, its lab, and what they have measured so far."""

    home: Home
    box: Box
    lab: LiveLab
    console: Console
    figures: dict[str, float] = field(default_factory=dict)


Stage = Callable[[_Course], list[str]]


def gate_lab(home: Home, box_os: str, provider: str) -> str:
    """The gate lab's name: its own for each data directory, OS and provider, since names are the whole computer's."""
    own = hashlib.sha256(f"{home.data}\0{provider}".encode()).hexdigest()[:4]
    return f"gate-{box_os.replace('.', '-')}"[:15].rstrip("-") + f"-{own}"


def prove(home: Home, box: Box, console: Console) -> GateResult:
    """Put a box through all stages. Its lab is gone afterwards; logs and histories are in ``gate`` beside the box."""
    logs = box.path.parent / "gate"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    if KINDS[box.provider].own_kernel:
        return _prove_machine(home, box, logs, console)
    lab = _open(home, box.os, box.provider, _write_lab(home, box, logs))
    course = _Course(home, box, lab, console)
    started = time.monotonic()
    problems: list[str] = []
    try:
        for name, stage in STAGES.items():
            begun = time.monotonic()
            try:
                problems = [f"{name}: {problem}" for problem in stage(course)]
            except LabError as error:
                problems = [f"{name}: {error.message}"]
            course.figures[f"{name}_s"] = round(time.monotonic() - begun, 1)
            _say(console, name, problems, time.monotonic() - begun)
            if problems:
                break
    finally:
        _take_away(home, box, lab, logs, console)
    course.figures["gate_s"] = round(time.monotonic() - started, 1)
    document = {"ok": not problems, "problems": problems, "figures": course.figures}
    write_whole(logs / "gate.json", json.dumps(document, indent=2) + "\n")
    return GateResult(tuple(problems), course.figures)


def _prove_machine(home: Home, box: Box, logs: Path, console: Console) -> GateResult:
    """A virtual machine's box: its tree, then two linked clones of its disk that are booted one after the other."""
    figures: dict[str, float] = {}
    started = time.monotonic()
    stages: dict[str, Callable[[], list[str]]] = {
        "tree": lambda: _check_kept_tree(home, box),
        "boot": lambda: _boot_stage(box, logs, figures),
    }
    problems: list[str] = []
    for name, stage in stages.items():
        begun = time.monotonic()
        try:
            problems = [f"{name}: {problem}" for problem in stage()]
        except LabError as error:
            problems = [f"{name}: {error.message}"]
        figures[f"{name}_s"] = round(time.monotonic() - begun, 1)
        _say(console, name, problems, time.monotonic() - begun)
        if problems:
            break
    figures["gate_s"] = round(time.monotonic() - started, 1)
    _say_figures(console, figures)
    document = {"ok": not problems, "problems": problems, "figures": figures}
    write_whole(logs / "gate.json", json.dumps(document, indent=2) + "\n")
    return GateResult(tuple(problems), figures)


def _check_kept_tree(home: Home, box: Box) -> list[str]:
    """The tree that the disk was made of, which lies beside the last disk."""
    tree = kept_disk(home, box.os) / "rootfs.tar.zst"
    wanted = json.loads(box.manifest.read_text())["rootfs_sha256"]
    if not tree.exists() or sha256_of(tree) != wanted:
        return [f"{tree}: must be the tree that the box's disk was made of"]
    with tree.open("rb") as archive:
        return check_archive(archive)


def _boot_stage(box: Box, logs: Path, figures: dict[str, float]) -> list[str]:
    hardware = Hardware(disk="ahci") if box.provider == "virtualbox" else Hardware()
    with tempfile.TemporaryDirectory(prefix="smoke-", dir=box.path.parent) as directory:
        disk = unpack_disk(box.path, Path(directory))
        clones = boot_clones(disk, logs, ("clone1", "clone2"), hardware)
    for name, clone in clones.items():
        (logs / f"{name}.json").write_text(json.dumps(clone.said, indent=2) + "\n")
    for key, value in read_figures(clones["clone1"].said, clones["clone1"].asked_s, clones["clone1"].banner_s).items():
        figures[f"boot_{key}"] = value
    return judge_box(load_layout(), {name: clone.said for name, clone in clones.items()})


def _say_figures(console: Console, figures: Mapping[str, float]) -> None:
    names = {"boot_kernel_s": "kernel", "boot_ssh_s": "SSH", "boot_cloud_init_done_s": "cloud-init finished"}
    said = [f"{what} {figures[name]} s" for name, what in names.items() if name in figures]
    if said:
        console.print(f"  after power-on, emulated: {', '.join(said)}", markup=False)


def _take_away(home: Home, box: Box, lab: LiveLab, logs: Path, console: Console) -> None:
    """The lab goes, its logs stay. What cannot be taken away now, the next builder does; it must not hide a verdict."""
    try:
        _keep_logs(lab, logs)
        remove_gate_lab(home, box.os, box.provider, Console(quiet=True))
    except (LabError, OSError) as error:
        console.print(f"the gate's lab is not all gone: {error}", markup=False, soft_wrap=True)


def remove_gate_lab(home: Home, os_name: str, provider: str, console: Console) -> None:
    """Take down the gate's lab, also one that a killed builder left. Needs the builders' lock."""
    paths = home.lab(gate_lab(home, os_name, provider))
    state = load_state(paths.state)
    if state is not None and paths.booted.exists():
        lab = LiveLab(Path(state.lab_file), load_topology(paths.booted), home, paths, open_provider(state.provider))
        tear_down(lab, console)
    shutil.rmtree(paths.root, ignore_errors=True)
    shutil.rmtree(paths.runs, ignore_errors=True)


def check_stage(course: _Course) -> list[str]:
    """The tree, without booting it."""
    with tarfile.open(course.box.path) as box:
        archive = box.extractfile("rootfs.tar.zst")
        if archive is None:
            return ["the box has no rootfs.tar.zst"]
        return check_archive(archive)


def check_archive(archive: IO[bytes]) -> list[str]:
    """A tree's archive, looked through as it comes: it is large."""
    with subprocess.Popen(
        ["zstd", "--decompress", "--quiet", "--stdout"],  # noqa: S607 - checked by the preflight
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as unpack:
        return _check_stream(archive, unpack)


def boot_stage(course: _Course) -> list[str]:
    """Every machine of a small lab boots, provisions itself, and all services find each other."""
    from rackbox.up import bring_up  # it builds boxes itself, where there is none

    for number in range(1, TRIES + 1):
        try:
            health = bring_up(course.lab, Console(quiet=True), box=course.box)
        except CommandFailed as error:  # Vagrant gave up; machines that failed are made anew
            if number == TRIES:
                raise
            course.console.print(f"  boot (try {number} of {TRIES}): {error.message}", markup=False, soft_wrap=True)
        else:
            break
    return list(health.all_problems)


def smoke_stage(course: _Course) -> list[str]:
    """What each machine says of itself from inside."""
    said = {}
    for node in course.lab.topology.nodes:
        result = course.lab.machine(node.name).run(SCRIPT, timeout=SMOKE_TIMEOUT)
        said[node.name] = json.loads(result.stdout)
    return judge_machines(course.lab.topology.nodes, said)


def failover_stage(course: _Course) -> list[str]:
    """The balancers take over from each other within budget."""
    problems: list[str] = []
    with lab_lock(course.lab.paths):
        for scenario in SCENARIOS:
            for number in range(1, TRIES + 1):
                report = _play(course, scenario)
                if report.verdict == "held":
                    problems = [text for text in problems if not text.startswith(scenario)]
                    break
                reasons = [describe_run(run) for item in report.scenarios for run in item.runs]
                problems.append(f"{scenario} (try {number} of {TRIES}): {'; '.join([*reasons, *report.notes])}")
            if problems:
                break
    return problems


STAGES: dict[str, Stage] = {
    "tree": check_stage,
    "boot": boot_stage,
    "smoke": smoke_stage,
    "failover": failover_stage,
}


def _play(course: _Course, scenario: str) -> FailoverReport:
    lab = course.lab
    facts = {**lab.provider.facts(), "box": course.box.version}
    report = failover_test(lab, [scenario], provider=lab.provider.name, facts=facts, patience=lab.provider.patience)
    for item in report.scenarios:
        if item.worst is not None:
            course.figures[f"{item.scenario}_ms"] = round(item.worst * 1000, 1)
    return report


def _check_stream(archive: Any, unpack: subprocess.Popen[bytes]) -> list[str]:
    def feed() -> None:
        assert unpack.stdin is not None
        with unpack.stdin:
            try:
                shutil.copyfileobj(archive, unpack.stdin, 1 << 20)
            except BrokenPipeError:
                return  # what was read of it is not a tree; the reader says so

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tree:
            return check_tree(tree)
    except tarfile.TarError as error:
        return [f"rootfs.tar.zst cannot be read: {error}"]
    finally:
        unpack.kill()
        feeder.join()


def _write_lab(home: Home, box: Box, logs: Path) -> Path:
    name = gate_lab(home, box.os, box.provider)
    source = Path(os.environ.get(OTHER_LAB) or LAB)
    document = yaml.safe_load(source.read_text()) | {"name": name, "os": box.os, "provider": box.provider}
    path = logs / "lab.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def _open(home: Home, os_name: str, provider: str, file: Path) -> LiveLab:
    paths = home.lab(gate_lab(home, os_name, provider))
    return LiveLab(file, load_topology(file), home, paths, open_provider(provider))


def _keep_logs(lab: LiveLab, logs: Path) -> None:
    """What the lab leaves for whoever asks why: Vagrant's log, the machines' consoles, the histories."""
    files = [*lab.paths.logs.glob("*.log"), *lab.paths.machines.glob("*/console.log")]
    for path in files:
        name = path.name if path.parent == lab.paths.logs else f"{path.parent.name}-{path.name}"
        shutil.copyfile(path, logs / name)
    if lab.paths.runs.is_dir():
        shutil.copytree(lab.paths.runs, logs / "runs", dirs_exist_ok=True)


def _say(console: Console, name: str, problems: list[str], seconds: float) -> None:
    mark = "[red]✗[/]" if problems else "[green]✓[/]"
    console.print(f"{mark} gate: {name}  [dim]{seconds:.1f} s[/]")
    for problem in problems:
        console.print(f"  {problem}", markup=False, soft_wrap=True)

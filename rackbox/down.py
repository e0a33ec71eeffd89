"""`invoke down`: takes away everything that `up` made. Entry point: ``tear_down``."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, LabError
from rackbox.lab import LiveLab, lab_lock, lock_file, open_lab
from rackbox.progress import Steps
from rackbox.state import save_state
from rackbox.up import open_vagrant


def command(lab_file: Path, keep: bool) -> int:
    """0 whether or not there was anything to remove."""
    console = open_console(stderr=True)
    lab = open_lab(lab_file)
    state = lab.state
    if state and state.lab_file != str(lab_file.resolve()):
        raise LabError(
            f"lab {lab.topology.lab} was made from {state.lab_file}; got {lab_file}", "take it down with that file"
        )
    tear_down(lab, console, keep=keep)
    return EXIT_OK


def tear_down(lab: LiveLab, console: Console, *, keep: bool = False) -> None:
    """Power everything off and remove it. With ``keep`` the machines' disks and the lab's secrets stay for a next `up`.

    The histories of failover tests are results, not parts of the lab: they stay in any case.
    """
    steps = Steps(console)
    with lab_lock(lab.paths):
        existing = lab.provider.existing(lab.topology, lab.paths)
        there = lab.paths.root.exists() or lab.provider.is_prepared(lab.topology, lab.paths)
        if not there:
            console.print(f"lab {lab.topology.lab} is not there: nothing to do")
            lock_file(lab.paths).unlink(missing_ok=True)
            return
        if lab.provider.is_prepared(lab.topology, lab.paths):
            with steps.step(f"{len(existing)} machines off"):
                _power_off(lab)
            if existing and not keep:
                with steps.step("machines removed"):
                    open_vagrant(lab).destroy(sorted(existing))
        with steps.step("networks removed"):
            lab.provider.remove(lab.topology, lab.paths)
        shutil.rmtree(lab.paths.runtime, ignore_errors=True)
        state = lab.state
        if keep and state:
            save_state(lab.paths.state, state.with_(phase="stopped", forward_pid=0))
        elif not keep:
            shutil.rmtree(lab.paths.root, ignore_errors=False)
        lock_file(lab.paths).unlink(missing_ok=True)


def _power_off(lab: LiveLab) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda node: lab.machine(node.name).power_off(), lab.topology.nodes))

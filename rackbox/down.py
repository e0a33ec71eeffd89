"""`invoke down`: takes away everything that `up` made. Entry point: ``tear_down``."""

from __future__ import annotations

import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, ConfigError, LabError
from rackbox.fencing import stop_fencing
from rackbox.lab import LiveLab, lab_lock, lock_file, open_booted_lab, open_lab
from rackbox.load import load_topology
from rackbox.progress import Steps
from rackbox.state import save_state
from rackbox.up import open_vagrant


def command(lab_file: Path, keep: bool) -> int:
    """0 whether or not there was anything to remove."""
    console = open_console(stderr=True)
    tear_down(_find_lab(lab_file, console), console, keep=keep)
    return EXIT_OK


def _find_lab(lab_file: Path, console: Console) -> LiveLab:
    """The lab that `up` made from this file: as it was then, whatever has become of the file since."""
    if lab := open_booted_lab(lab_file):
        try:
            now = load_topology(lab_file).lab
        except ConfigError:
            now = ""
        if now != lab.topology.lab:
            console.print(f"lab {lab.topology.lab} was made from this file as it was then", soft_wrap=True)
        return lab
    lab = open_lab(lab_file)
    state = lab.state
    if state and state.lab_file != str(lab_file.resolve()):
        hint = f"take it down with `./lab down --lab {shlex.quote(state.lab_file)}`; the file need not be there"
        raise LabError(f"lab {lab.topology.lab} was made from {state.lab_file}; got {lab_file}", hint)
    return lab


def tear_down(lab: LiveLab, console: Console, *, keep: bool = False) -> None:
    """Power everything off and remove it. With ``keep`` the machines' disks and the lab's secrets stay for a next `up`.

    The histories of failover tests are results, not parts of the lab: they stay in any case.
    """
    steps = Steps(console)
    lab.check_access()
    if not _is_there(lab) and not lock_file(lab.paths).exists():
        console.print(f"lab {lab.topology.lab} is not there: nothing to do")
        return
    with lab_lock(lab.paths):
        existing = lab.provider.existing(lab.topology, lab.paths)
        if not _is_there(lab):
            console.print(f"lab {lab.topology.lab} is not there: nothing to do")
            lock_file(lab.paths).unlink(missing_ok=True)
            return
        stop_fencing(lab.paths)
        if lab.provider.is_prepared(lab.topology, lab.paths):
            with steps.step(f"{len(existing)} machines off"):
                _power_off(lab)
            if existing and not keep:
                with steps.step("machines removed"):
                    open_vagrant(lab).destroy(sorted(existing))
        with steps.step("networks removed"):
            lab.provider.remove(lab.topology, lab.paths)
        if not keep:
            lab.provider.forget_machines(lab.topology, lab.paths)
        shutil.rmtree(lab.paths.runtime, ignore_errors=True)
        state = lab.state
        if keep and state:
            save_state(lab.paths.state, state.with_(phase="stopped", forward_pid=0))
        elif not keep and lab.paths.root.exists():  # else somebody was here before
            shutil.rmtree(lab.paths.root)
        lock_file(lab.paths).unlink(missing_ok=True)


def _is_there(lab: LiveLab) -> bool:
    paths = lab.paths
    return paths.root.exists() or paths.runtime.exists() or lab.provider.is_prepared(lab.topology, paths)


def _power_off(lab: LiveLab) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda node: lab.machine(node.name).power_off(), lab.topology.nodes))

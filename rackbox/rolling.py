"""Machines of a running lab made anew one by one, while probes watch the floating IP: what a renewal and an upgrade
have in common. Entry point: ``Rolling``.

Volumes stay, roots are made anew. A machine is begun with only when all are well, and is well again before the next
one: whatever breaks it off, each machine is old or new, and running it again goes on. What the probes saw is in the
lab's ``runs/<what>-<time>/``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import threading
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from rich.console import Console

from rackbox.box import Box, write_whole
from rackbox.errors import EXIT_FAILED, EXIT_OK, LabError, MachineError
from rackbox.handover import read_kept, undo, welcome, withdraw
from rackbox.health import LabHealth
from rackbox.history import ATTEMPT, SCHEMA, JsonValue
from rackbox.lab import LiveLab
from rackbox.probes import PROBES
from rackbox.probes.process import RunningProbe, plan_settings, start_probe
from rackbox.progress import Steps
from rackbox.recorder import HistoryTail, Recorder, load_history
from rackbox.renewal import RenewalFigures, describe_figures, measure_renewal, next_machine, renewal_json
from rackbox.state import LabState, save_state
from rackbox.topology import Node
from rackbox.up import remake_machine, take_box
from rackbox.wait import NotYet, wait_for

CALM_SECONDS = 1.0
LONGEST_SECONDS = 6 * 3600.0
CALM_TIMEOUT = 120.0
HEAL_SECONDS = 300.0
"""A machine that was away may have much to copy before it counts as well again."""


class Rolling:
    """``what`` names it in histories and directories, ``done`` is what a machine is afterwards, ``go_on`` the command
    that goes on where it was broken off. A subclass may say more at each step."""

    what: ClassVar[str] = "renewal"
    done: ClassVar[str] = "made anew"
    go_on: ClassVar[str] = "`./lab up --renew` goes on"

    def __init__(self, lab: LiveLab, box: Box, state: LabState, console: Console, probes: Sequence[str]) -> None:
        self.lab = lab
        self.box = box
        self.state = state.with_(box=box.name, box_version=box.version)
        """As it is to be while no machine is under way."""
        self.steps = Steps(console)
        self.console = console
        self.directory = lab.paths.runs / f"{self.what}-{datetime.now():%Y%m%dT%H%M%S}"
        self.finished: list[str] = []
        self._looking_on = probes

    # --- what a subclass says

    def prepare_machine(self, node: Node) -> None:
        """Once a machine has left, before it is removed; may change ``state``."""

    def check_machine(self, node: Node) -> None:
        """Once it is back and all are healthy. Raises ``LabError``."""

    def describe(self, node: Node) -> str:
        """What becomes of it, for the line that says that it is done."""
        return f"{node.name} {self.done}"

    def facts(self) -> dict[str, JsonValue]:
        """More for the history's header and for the document."""
        return {}

    def run(self, waiting: Sequence[str]) -> int:
        lab, started = self.lab, time.monotonic()
        self._vagrant = take_box(lab, self.box, self.steps)
        save_state(lab.paths.state, self.state)
        self.directory.mkdir(parents=True)
        problem: LabError | None = None
        with _Stop(self.console) as stop, Recorder(self.directory / "history.jsonl", "test") as self._recorder:
            self._write_header(waiting)
            probes = self._start_probes()
            try:
                with contextlib.ExitStack() as stack:
                    for probe in probes.values():
                        stack.callback(probe.wait_for_end)
                        stack.callback(probe.ask_to_end)
                    self._sight = _Sight(self.directory / "history.jsonl", probes)
                    self._replace_all(waiting, stop)
                    time.sleep(CALM_SECONDS)
            except LabError as error:
                problem = error
                self._recorder.write("error", stage=self.what, message=error.message)
            finally:
                self._recorder.write("run-end")
                self._recorder.sync()
        figures = self._show_figures(probes, time.monotonic() - started)
        left = [name for name in waiting if name not in self.finished]
        if problem is not None:
            raise MachineError(problem.message, f"left: {', '.join(left)}; look with `./lab status`, {self.go_on}")
        if stop.asked:
            self.console.print(f"stopped as asked; left: {', '.join(left) or 'none'}; {self.go_on}", soft_wrap=True)
            raise KeyboardInterrupt
        return EXIT_FAILED if figures is not None and (figures.lost or figures.twice) else EXIT_OK

    # --- the machines

    def _replace_all(self, waiting: Collection[str], stop: _Stop) -> None:
        while not stop.asked:
            health = self._wait_healthy()
            self._sight.wait_for_calm()
            left = [name for name in waiting if name not in self.finished]
            node = next_machine(self.lab.topology, left, health.floating_ip_holder, health.etcd_leader)
            if node is None:
                return
            stop.busy_with = node.name
            self._recorder.write("renew-start", machine=node.name, box=self.box.version)
            with self.steps.step(f"{self.describe(node)} ({len(self.finished) + 1} of {len(waiting)})"):
                self._replace(node)
            self._recorder.write("renew-end", machine=node.name)
            self.finished.append(node.name)
            stop.busy_with = ""

    def _replace(self, node: Node) -> None:
        lab, before = self.lab, self.state
        # If we are killed while it takes its leave, `up` has to do more than start it.
        save_state(lab.paths.state, before.with_(phase="failed", failed=(node.name,)))
        try:
            withdraw(lab, node)
            archive = read_kept(lab, node)
            self.prepare_machine(node)
        except BaseException:
            undo(lab, node)
            save_state(lab.paths.state, before)
            raise
        state = self.state
        kept = lab.paths.kept / f"{node.name}.tar"
        if archive:
            _write_secret(kept, base64.b64decode(archive))
        # From here on a plain `up` would make this machine anew as well, if we were killed.
        save_state(lab.paths.state, state.with_(phase="failed", failed=(node.name,)))
        alone = node.role == "gateway"
        with lab.provider.stand_in(lab.topology, node, lab.paths) if alone else contextlib.nullcontext():
            # Its plug is pulled by us: the cluster's power switch must not put it back meanwhile.
            lab.machine(node.name).power_off()
            remake_machine(lab, self._vagrant, node)
        welcome(lab, node)
        self._wait_healthy()
        self.check_machine(node)
        save_state(lab.paths.state, state)
        kept.unlink(missing_ok=True)

    def _wait_healthy(self) -> LabHealth:
        """Asked once a second only: eleven machines that look at themselves are a load, and clients feel it."""

        def look() -> LabHealth:
            health = self.lab.read_health()
            if problems := health.all_problems:
                raise NotYet("; ".join(problems))
            return health

        return wait_for(f"lab {self.lab.topology.lab} healthy", look, timeout=HEAL_SECONDS, interval=1.0)

    # --- the probes

    def _write_header(self, waiting: Sequence[str]) -> None:
        lab = self.lab
        self._recorder.write(
            "header",
            schema=SCHEMA,
            lab=lab.topology.lab,
            provider=lab.provider.name,
            scenario=self.what,
            machines=list(waiting),
            box=self.box.version,
            boxes=lab.provider.box_versions(lab.topology, lab.paths),
            probes=list(self._looking_on),
            **self.facts(),
            facts=lab.provider.facts(),
        )

    def _start_probes(self) -> dict[str, RunningProbe]:
        probes: dict[str, RunningProbe] = {}
        for name in self._looking_on:
            try:
                settings = plan_settings(
                    self.lab,
                    name,
                    self.directory / "history.jsonl",
                    self.directory.name,
                    PROBES[name].pace,
                    LONGEST_SECONDS,
                )
            except LabError as error:
                self.console.print(f"not measured: {error.message}", soft_wrap=True)
                return {}
            probes[name] = start_probe(self.lab, settings, self.directory / f"probe-{name}.log")
        return probes

    def _show_figures(self, probes: Collection[str], seconds: float) -> RenewalFigures | None:
        self.console.print(f"{len(self.finished)} machines {self.done} in {seconds:.0f} s")
        if not probes:
            return None
        figures = measure_renewal(load_history(self.directory / "history.jsonl"), list(probes))
        document = {**renewal_json(figures, self.finished, seconds, self.box.version), **self.facts()}
        write_whole(self.directory / f"{self.what}.json", json.dumps(document, indent=2) + "\n")
        for line in describe_figures(figures, self.what, self.done):
            self.console.print(f"  {line}", soft_wrap=True)
        self.console.print(f"  history: {self.directory / 'history.jsonl'}", style="dim", soft_wrap=True)
        return figures


class _Sight:
    """What the probes see at the moment: enough to know when to go on."""

    def __init__(self, history: Path, probes: Collection[str]) -> None:
        self._tail = HistoryTail(history)
        self._bad = {f"probe:{name}": time.monotonic() for name in probes}
        self._good = dict(self._bad)

    def wait_for_calm(self) -> None:
        """Every probe good for a while: no machine is begun with while clients are not served."""
        wait_for("the probes good before the next machine", self._look, timeout=CALM_TIMEOUT)

    def _look(self) -> None:
        for record in self._tail.read_new():
            if record.event == ATTEMPT and record.source in self._bad:
                (self._good if record.fields.get("outcome") == "ok" else self._bad)[record.source] = record.t
        short = [name for name, good in self._good.items() if good - self._bad[name] < CALM_SECONDS]
        if short:
            raise NotYet(f"not good for {CALM_SECONDS:g} s: {', '.join(short)}")


class _Stop:
    """The first Ctrl-C or SIGTERM: no further machine is begun with. The second: at once."""

    def __init__(self, console: Console) -> None:
        self.asked = False
        self.busy_with = ""
        self._console = console
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._arrived) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        after = f"once {self.busy_with} is well" if self.busy_with else "before the next machine"
        self._console.print(f"stopping {after}; again: at once, with that machine unfinished")


def _write_secret(path: Path, data: bytes) -> None:
    """It may hold keys: for its owner alone, and whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_bytes(data)
    part.replace(path)

"""A lab made of nothing: machines that answer as real ones do, probes that only pretend, a clock wound by hand.

Scenario → history → verdict runs on it in milliseconds. ``FakeLab`` satisfies ``rackbox.machine.Lab``;
``FakeLab.stage`` gives the ``Stage`` that belongs to it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from rackbox.errors import CommandFailed, WaitTimeout
from rackbox.history import PROBE_SOURCE, Attempt, Outcome
from rackbox.load import load_topology
from rackbox.machine import Lab
from rackbox.paths import PROJECT, LabPaths
from rackbox.probes import PROBES, ProbeSettings
from rackbox.probes.process import RunningProbe
from rackbox.recorder import Recorder
from rackbox.run import Result
from rackbox.scenario import Stage
from rackbox.targets import STATUS
from rackbox.topology import Node, Topology

EPOCH = 1_700_000_000.0


class FakeClock:
    """Monotonic seconds that pass only when somebody sleeps; ``on_tick`` is told of every stretch that has passed."""

    def __init__(self, now: float = 5_000.0) -> None:
        self.now = now
        self.on_tick: list[Callable[[float], None]] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for listener in list(self.on_tick):
            listener(self.now)


@dataclass
class FakeMachine:
    """A machine as the lab tells it to be. ``calls`` are the scripts it was given."""

    lab: FakeLab
    node: Node
    running: bool = True
    pid: int = 100
    calls: list[str] = field(default_factory=list)

    def run(self, script: str, *, timeout: float = 10.0, check: bool = True) -> Result:
        if not self.running:
            raise CommandFailed(f"{self.node.name}: no route to host")
        if script == STATUS:
            return self._answer(json.dumps(self.lab.status(self.node)))
        self.calls.append(script)
        if "kill" in script:
            self.lab.happens("inject", self)
        elif "MainPID" in script:
            self.lab.happens("evidence", self)
            return self._answer(f"{self.pid}\n")
        else:
            self.lab.happens("heal", self)
        return self._answer("")

    def stream_argv(self) -> list[str]:
        return ["fake-ssh", self.node.name]

    def power_off(self) -> None:
        self.lab.happens("inject", self, power=False)

    def power_on(self) -> None:
        self.lab.happens("heal", self)

    def is_running(self) -> bool:
        return self.running

    def _answer(self, text: str) -> Result:
        return Result(("fake",), 0, text, "", 0.0)


class FakeProbe:
    """Asks a ``FakeLab`` on a schedule of its own, whenever the clock moves."""

    def __init__(self, lab: FakeLab, settings: ProbeSettings, path: Path) -> None:
        self._lab, self._settings = lab, settings
        self.recorder = Recorder(path, PROBE_SOURCE + settings.probe, lab.clock, lambda: EPOCH + lab.clock())
        self._next = lab.clock() + 0.3  # a process takes its time to start
        self._seq = 0
        self.ends = 0
        self._started = False
        lab.clock.on_tick.append(self.tick)

    def tick(self, now: float) -> None:
        if not self._started:
            audits = PROBES[self._settings.probe].audits
            interval = self._settings.interval * 1000
            self.recorder.write("probe-start", interval_ms=interval, timeout_ms=1000, audits=audits)
            self._started = True
        while self._next <= now and not self.ends:
            start = self._next
            self._next += self._settings.interval
            if any(begin <= start < end for begin, end in self._lab.starved):
                continue
            outcome: Outcome = "ok" if self._lab.serves(start) else "fail"
            attempt = Attempt(self._settings.probe, self._seq, start, start, start + 0.004, outcome)
            self._seq += 1
            self.recorder.write_attempt(attempt)

    def ended(self) -> str:
        return self._lab.probe_dies

    def ask_to_end(self) -> None:
        self.ends += 1

    def wait_for_end(self) -> None:
        if self.tick not in self._lab.clock.on_tick:
            return
        self._lab.clock.on_tick.remove(self.tick)
        if PROBES[self._settings.probe].audits and self._lab.audits:
            self.recorder.write("probe-audit", acknowledged=50, lost=self._lab.lost, twice=[])
        self.recorder.write("probe-end", attempts=self._seq, cpu_seconds=0.1)
        self.recorder.close()


@cache
def default_topology() -> Topology:
    return load_topology(PROJECT / "config" / "default.yaml")


class FakeLab:
    """A lab up and healthy, whose failures are set by its attributes.

    ``takeover``: seconds without service after a fault. ``bites``: whether the fault does anything. ``raises``: an
    exception for a moment (``setup``, ``inject``, ``evidence``, ``heal``, ``healthy``), raised the first time; with
    ``raises_always`` every time. ``on_sleep`` is called on each stretch of time.
    """

    def __init__(self, root: Path, topology: Topology | None = None) -> None:
        self.topology = topology or default_topology()
        self.paths = LabPaths(root / "lab", root / "run", root / "runs")
        self.clock = FakeClock()
        self.machines = {node.name: FakeMachine(self, node) for node in self.topology.nodes}
        self.holders = ["lb1"]
        self.leader = "master2"
        self.takeover = 0.2
        self.bites = True
        self.audits = True
        self.lost: list[str] = []
        self.probe_dies = ""
        self.healthy_error = ""
        self.outages: list[tuple[float, float]] = []
        self.starved: list[tuple[float, float]] = []
        self.raises: dict[str, BaseException] = {}
        self.raises_always: dict[str, BaseException] = {}
        self.moments: list[str] = []
        self.after_inject: Callable[[FakeLab], None] = lambda lab: None
        self.after_heal: Callable[[FakeLab], None] = lambda lab: None
        self.probes: list[FakeProbe] = []
        self._lock = threading.Lock()

    # --- rackbox.machine.Lab

    def machine(self, name: str) -> FakeMachine:
        return self.machines[name]

    def client_argv(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def wait_healthy(self, timeout: float) -> None:
        self._moment("healthy")
        self.clock.sleep(0.5)
        if self.healthy_error:
            raise WaitTimeout(self.healthy_error)

    # --- what the machines and the probes ask

    def serves(self, when: float) -> bool:
        return not any(begin <= when < end for begin, end in self.outages)

    def status(self, node: Node) -> dict[str, object]:
        with self._lock:
            role: dict[str, object] = {}
            if node.role == "lb":
                role = {"holds_vip": node.name in self.holders, "quorate": True}
            elif node.role == "master":
                role = {"leader": node.name == self.leader, "etcd_healthy": True, "members": 3}
            return {"provisioned": True, "failed_hook": None, "units": {}, "role": role}

    def happens(self, moment: str, machine: FakeMachine, power: bool = True) -> None:
        self._moment(moment)
        self.clock.sleep(0.05)
        if moment == "inject" and self.bites:
            self._break(machine, power)
            self.after_inject(self)
        elif moment == "heal":
            machine.running = True
            self.after_heal(self)

    def _break(self, machine: FakeMachine, power: bool) -> None:
        name, now = machine.node.name, self.clock()
        machine.running = power
        if not power:
            if name in self.holders:
                self.holders = [other for other in ("lb1", "lb2") if other != name]
            if name == self.leader:
                self.leader = "master3" if name != "master3" else "master1"
        machine.pid += 1
        if self.takeover:
            self.outages.append((now, now + self.takeover))

    def _moment(self, moment: str) -> None:
        self.moments.append(moment)
        error = self.raises_always.get(moment) or self.raises.pop(moment, None)
        if error is not None:
            raise error

    # --- for tests

    @property
    def all_well(self) -> bool:
        """Every machine has power and every probe has gone: nothing was left behind."""
        return all(machine.running for machine in self.machines.values()) and not self.clock.on_tick

    def start_probe(self, lab: Lab, settings: ProbeSettings, log: Path) -> RunningProbe:
        probe = FakeProbe(self, settings, settings.history)
        self.probes.append(probe)
        return probe

    def stage(self, say: Callable[[str], None] = lambda text: None) -> Stage:
        return Stage(
            clock=self.clock,
            wall=lambda: EPOCH + self.clock(),
            sleep=self.clock.sleep,
            start_probe=self.start_probe,
            say=say,
        )

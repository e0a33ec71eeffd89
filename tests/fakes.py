"""A lab made of nothing: machines that answer as real ones do, probes that only pretend, a clock wound by hand.

Scenario → history → verdict runs on it in milliseconds. ``FakeLab`` satisfies ``rackbox.machine.Lab``;
``FakeLab.stage`` gives the ``Stage`` that belongs to it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from rackbox.errors import CommandFailed, WaitTimeout
from rackbox.faults import FAULTS
from rackbox.history import PROBE_SOURCE, Attempt, Outcome
from rackbox.load import load_topology
from rackbox.lookout import NoWatchers
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
PASSING = {name for name, fault in FAULTS.items() if fault.passes}


class FakeClock:
    """Monotonic seconds that pass only when somebody sleeps; ``on_tick`` is told of every stretch that has passed."""

    def __init__(self, now: float = 5_000.0) -> None:
        self.now = now
        self.on_tick: list[Callable[[float], None]] = []
        self.lock = threading.RLock()  # faults act on several machines at the same time

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds
            for listener in list(self.on_tick):
                listener(self.now)


# What a machine shows of a fault: unharmed, and with the fault in it.
SHOWS: dict[str, tuple[str, str]] = {
    "hung": ("100:S 101:S ", "100:T 101:T "),
    "haproxy-stopped": ("active 100", "inactive 0"),
    "cut-off": ("0\n192.0.2.1\n", "1\n"),
    "packet-loss": ("0", "1"),
    "packet-delay": (
        "rtt min/avg/max/mdev = 0.030/0.036/0.040/0.001 ms",
        "rtt min/avg/max/mdev = 50.3/50.4/50.5/0.1 ms",
    ),
    "disk-full": ("/var/log\n/var/tmp\n", ""),
}


@dataclass
class FakeMachine:
    """A machine as the lab tells it to be. ``calls`` are the scripts it was given, ``broken`` the faults that were made
    inside of it and not healed yet; ``frozen`` and ``running`` are made from outside."""

    lab: FakeLab
    node: Node
    running: bool = True
    frozen: bool = False
    pid: int = 100
    boots: int = 1
    broken: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    def run(self, script: str, *, timeout: float = 10.0, check: bool = True) -> Result:
        if not self.running or self.frozen:
            raise CommandFailed(f"{self.node.name}: no route to host")
        if script == STATUS:
            return self._answer(json.dumps(self.lab.status(self.node)))
        self.calls.append(script)
        moment, _, fault = script.partition("\n")[0].removeprefix("# ").partition(" ")
        if moment == "holds":
            return self._answer("inet\n" if self.node.name in self.lab.holders else "")
        if moment == "part":
            return self._answer(self.lab.parts[fault])
        if moment == "audit":
            if error := self.lab.raises.pop("audit", None):
                raise error
            return self._answer("".join(f"left by {name}\n" for name in sorted(self.broken)))
        self.lab.happens(moment, self, fault)
        return self._answer(self._show(fault) if moment == "evidence" else "")

    def _show(self, fault: str) -> str:
        """What can be seen of ``fault``."""
        if fault.endswith("-killed"):
            return f"{self.pid}\n"
        if fault == "rebooted":
            return f"{self.boots}\n"
        if fault == "switched-over":
            return "2: dmz inet 192.0.2.20/24\n" if self.node.name in self.lab.holders else ""
        kind = "hung" if fault.endswith("-hung") else "cut-off" if fault.startswith("cut-off") else fault
        return SHOWS[kind][fault in self.broken]

    def stream_argv(self) -> list[str]:
        return ["fake-ssh", self.node.name]

    def power_off(self) -> None:
        self.lab.happens("inject", self, "powered-off")

    def power_on(self) -> None:
        self.lab.happens("heal", self, "powered-off")

    def is_running(self) -> bool:
        return self.running

    def freeze(self) -> None:
        self.lab.happens("inject", self, "frozen")

    def thaw(self) -> None:
        self.lab.happens("heal", self, "frozen")

    def is_frozen(self) -> bool:
        self.lab.happens("evidence", self, "frozen")
        return self.frozen

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
            end = start + (0.004 if outcome == "ok" else self._lab.fail_seconds)
            attempt = Attempt(self._settings.probe, self._seq, start, start, end, outcome)
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
            lost = self._lab.lost if self._settings.probe == "etcd-write" else []
            self.recorder.write("probe-audit", acknowledged=50, lost=lost, twice=[])
        self.recorder.write("probe-end", attempts=self._seq, cpu_seconds=0.1)
        self.recorder.close()


@cache
def default_topology() -> Topology:
    return load_topology(PROJECT / "config" / "default.yaml")


def with_stack(ha: str) -> Topology:
    """The default lab with that stack on its balancers."""
    topology = default_topology()
    assert topology.load_balancer is not None
    return replace(topology, load_balancer=replace(topology.load_balancer, ha=ha))


@cache
def cluster_topology() -> Topology:
    """The shipped lab with a cluster."""
    return load_topology(PROJECT / "config" / "kubernetes.yaml")


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
        self.parts = {
            "controller-manager-leader": "master3_0d2a6b1e",
            "coredns-host": "worker2",
            "service-host": "worker1",
        }
        self.takeover = 0.2
        self.fail_seconds = 0.004
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
        self.on_moment: dict[str, Callable[[FakeLab], None]] = {}
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

    def happens(self, moment: str, machine: FakeMachine, fault: str) -> None:
        with self.clock.lock:
            self._moment(moment)
            self.clock.sleep(0.05)
            if moment == "inject" and self.bites:
                self._break(machine, fault)
                self.after_inject(self)
            elif moment == "heal":
                self._mend(machine, fault)
                self.after_heal(self)

    def _break(self, machine: FakeMachine, fault: str) -> None:
        name, now = machine.node.name, self.clock()
        machine.running = machine.running and fault != "powered-off"
        machine.frozen = machine.frozen or fault == "frozen"
        machine.pid += fault.endswith("-killed")
        machine.boots += fault == "rebooted"
        if fault not in PASSING:
            machine.broken.add(fault)
        if fault in ("powered-off", "switched-over") and name in self.holders:
            self.holders = [other for other in ("lb1", "lb2") if other != name]
        if fault == "powered-off" and name == self.leader:
            self.leader = "master3" if name != "master3" else "master1"
        if self.takeover:
            self.outages.append((now, now + self.takeover))

    def _mend(self, machine: FakeMachine, fault: str) -> None:
        machine.running = machine.running or fault == "powered-off"
        machine.frozen = machine.frozen and fault != "frozen"
        machine.broken.discard(fault)

    def _moment(self, moment: str) -> None:
        self.moments.append(moment)
        if moment in self.on_moment:
            self.on_moment.pop(moment)(self)
        error = self.raises_always.get(moment) or self.raises.pop(moment, None)
        if error is not None:
            raise error

    # --- for tests

    @property
    def all_well(self) -> bool:
        """Every machine has power and no fault in it, and every probe has gone: nothing was left behind."""
        machines = self.machines.values()
        return all(m.running and not m.frozen and not m.broken for m in machines) and not self.clock.on_tick

    def start_watchers(self, lab: Lab, history: Path, run_dir: Path) -> NoWatchers:
        return NoWatchers()

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
            start_watchers=self.start_watchers,
            collect_logs=lambda lab, history, run_dir, since_wall: None,
            say=say,
        )

"""Plays one scenario against a lab, once, and leaves a history. It judges nothing.

preflight (heal what was left behind, lab healthy, one holder) → onlookers → good for a second or ten requests → break
→ good again, and for a while → heal → healthy again → audit → onlookers end. Whatever happens on the way, Ctrl-C
included, the fault is healed and the onlookers are gone. Entry point: ``play_scenario``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rackbox.audits import NO_POWER, check_holders, find_problems, find_traces
from rackbox.errors import LabError, WaitTimeout
from rackbox.faults import FAULTS, Site
from rackbox.faults.daemons import FORGET_FAILURES
from rackbox.history import JsonValue
from rackbox.interrupts import Interrupts
from rackbox.logs import collect_logs
from rackbox.lookout import Lookout, StartProbe, StartWatchers
from rackbox.machine import Lab
from rackbox.marks import clear_mark, mark_fault, read_mark
from rackbox.probes.process import start_probe
from rackbox.recorder import Recorder
from rackbox.scenarios import Scenario
from rackbox.targets import find_holders, hear_holders, list_candidates, resolve_target
from rackbox.watchers import start_watchers

HISTORY = "history.jsonl"
PREFLIGHT_SECONDS = 45.0
HEAL_TRIES = 3
AUDIT_SECONDS = 20.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Stage:
    """What a run needs of the world besides the lab; tests put in a clock of their own and probes that only pretend.
    ``patience``: how many times as long as containers its machines take."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    start_probe: StartProbe = start_probe
    start_watchers: StartWatchers = start_watchers
    collect_logs: Callable[[Lab, Path, Path, float], object] = collect_logs
    say: Callable[[str], None] = lambda text: None
    interrupts: Interrupts = field(default_factory=Interrupts)
    patience: float = 1.0


def play_scenario(
    lab: Lab, scenario: Scenario, run_dir: Path, *, stage: Stage, header: Mapping[str, JsonValue]
) -> None:
    """Play ``scenario`` once into ``run_dir`` (which must exist). ``header`` goes into the history's first record.

    Raises ``LabError`` only when the lab was not fit to begin with; what goes wrong later is written down and makes the
    run unknown. ``KeyboardInterrupt`` passes, after everything has been healed and ended.
    """
    run = _Play(lab, scenario, run_dir, stage)
    with run.recorder:
        run.recorder.write("header", **header)
        run.play()


class _Play:
    def __init__(self, lab: Lab, scenario: Scenario, run_dir: Path, stage: Stage) -> None:
        self.recorder = Recorder(run_dir / HISTORY, "test", stage.clock, stage.wall)
        self._lab = lab
        self._scenario = scenario
        self._dir = run_dir
        self._stage = stage
        self._fault = FAULTS[scenario.fault]
        self._lookout = Lookout(lab, scenario, run_dir / HISTORY)
        self._begun = stage.wall()
        self._site: Site | None = None
        self._healing = 0.0
        self._redundant = False

    def play(self) -> None:
        try:
            self._preflight()
            try:
                self._lookout.start(self._stage.start_probe, self._stage.start_watchers)
                self._wait_for_good()
                self._break()
                self._outlast()
            except LabError as error:
                self._note_error("test", error)
            finally:
                self._heal()
            self._wait_for_healthy()
        except KeyboardInterrupt:
            self.recorder.write("interrupted")
            self._audit_after_interrupt()
            raise
        finally:
            self._lookout.end()
            if self._site is not None:
                self._collect_logs()
            self.recorder.write("run-end")
            self.recorder.sync()

    # --- before

    def _preflight(self) -> None:
        """Heal what an earlier test may have left, on any machine that could be the target, and see the lab healthy."""
        self._stage.say("preflight")
        self._heal_leftovers()
        names = list_candidates(self._lab.topology, self._scenario.target)
        self._fault.heal(Site(self._lab, names))
        try:
            with self._stage.interrupts.allowed():
                self._lab.wait_healthy(PREFLIGHT_SECONDS * self._stage.patience)
        except WaitTimeout as error:  # not a verdict: nothing was broken, nothing was measured
            hint = "`./lab status` shows what is wrong, `./lab up` brings back what is off"
            raise LabError(f"before the fault: {error.message}", hint) from error
        self._forget_failures()
        holders = find_holders(self._lab)
        self.recorder.write("holders", phase="before", holders=holders)
        if len(holders) != 1:
            raise LabError(
                f"holders of the floating IP before the fault: {', '.join(holders) or 'none'}; must be one",
                "`./lab status` shows what is wrong with the lab",
            )

    def _heal_leftovers(self) -> None:
        """What a test that was killed has left: the fault that it had noted, and what can be seen on the machines."""
        if (left := read_mark(self._lab.paths)) and left.fault in FAULTS:
            self._stage.say(f"healing what a broken-off test left: {left.fault} on {', '.join(left.machines)}")
            known = {node.name for node in self._lab.topology.nodes}
            FAULTS[left.fault].heal(Site(self._lab, tuple(name for name in left.machines if name in known)))
            clear_mark(self._lab.paths)
        # A machine without power may be somebody's will.
        traces = [text for text in find_traces(self._lab, self._lab.topology.nodes) if not text.endswith(NO_POWER)]
        if traces:
            self._stage.say(f"healing what was left: {'; '.join(traces)}")
            for name in dict.fromkeys(text.partition(":")[0] for text in traces):
                heal_everything(self._lab, name)

    def _forget_failures(self) -> None:
        """A cluster that remembers earlier failures places by them; each run begins with one that has none."""
        balancer = self._lab.topology.load_balancer
        nodes = self._lab.topology.by_role("lb")
        if balancer is not None and balancer.ha == "pacemaker" and nodes:
            self._lab.machine(nodes[0].name).run(f"# heal failures\n{FORGET_FAILURES}", timeout=20.0)

    def _wait_for_good(self) -> None:
        """Every probe good for a while without a break: the calm that the fault is seen against."""
        self._stage.say("probing")
        self._wait_for_calm()
        self.recorder.write("good-before")

    def _wait_for_calm(self) -> bool:
        """Whether it took any time."""
        limit = self._scenario.start + 2 * self._lookout.longest_calm
        return self._wait("the probes before the fault", lambda: self._lookout.not_calm(self._stage.clock()), limit)

    # --- the fault

    def _break(self) -> None:
        scenario, fault = self._scenario, self._fault
        names = resolve_target(self._lab, scenario.target)
        record = Recorder(self._dir / HISTORY, "fault", self._stage.clock, self._stage.wall)
        with record:
            # From here on there is something to heal, also for whoever comes after us if we are killed.
            mark_fault(self._lab.paths, fault.name, names)
            site = self._site = Site(self._lab, names, lambda event, fields: self._try_note(event, **fields))
            record.write("target", target=scenario.target, machines=names)
            record.write("setup-start")
            fault.setup(site)
            record.write("setup-end")
            before = fault.evidence(site)
            record.write("evidence", phase="before", seen=before)
            # All that takes a while, in which a request may fail; and if it does, somebody else may lead by now.
            if self._wait_for_calm() and resolve_target(self._lab, scenario.target) != names:
                raise LabError(f"{scenario.target} is not {', '.join(names)} any more, before there was a fault")
            self._stage.say(f"{scenario.fault} on {', '.join(names)}")
            record.write("inject-start", fault=fault.name)
            fault.inject(site)
            record.write("inject-end", fault=fault.name)
            after = fault.evidence(site)
            record.write("evidence", phase="after", seen=after)
            bitten = fault.bitten(before, after)
            record.write("bite", bitten=bitten, detail=f"before: {dict(before)}, after: {dict(after)}")

    def _outlast(self) -> None:
        """Until the service is back, or, where nothing can bring it back but healing, for a while."""
        if self._scenario.lasts:
            with self._stage.interrupts.allowed():
                self._stage.sleep(self._scenario.recover)
        else:
            self._wait_for_good_again(self._stage.clock())
        self._note_recovered()

    def _wait_for_good_again(self, since: float) -> None:
        """Good, and good for ``settle`` seconds in a row; gives up after ``recover`` seconds, which is no error: what
        the probes saw says all."""
        scenario = self._scenario
        try:
            self._wait(
                "the probes after the fault",
                lambda: self._lookout.not_settled(since),
                scenario.recover + scenario.settle,
            )
        except WaitTimeout as error:
            self.recorder.write("not-good-again", message=error.message)
        else:
            self.recorder.write("good-again")

    def _note_recovered(self) -> None:
        """Who holds the address now, and whether all is as it was already, before any healing."""
        holders, silent = hear_holders(self._lab)
        self.recorder.write("holders", phase="recovered", holders=holders, silent=silent)
        if self._fault.passes:
            with contextlib.suppress(WaitTimeout), self._stage.interrupts.allowed():
                self._lab.wait_healthy(self._fault.passes * self._stage.patience)
                self._note_redundant()

    # --- after

    def _heal(self) -> None:
        """Mend whatever was begun. Never raises but for an interrupt, and for that only when it is done."""
        if self._site is None:
            return
        self._stage.say("healing")
        interrupt: KeyboardInterrupt | None = None
        self._healing = self._stage.clock()
        self._try_note("heal-start")
        for left in reversed(range(HEAL_TRIES)):
            try:
                self._fault.heal(self._site)
                self._fault.teardown(self._site)
                clear_mark(self._lab.paths)
                break
            except LabError as error:  # a second Ctrl-C at the terminal kills the program that was healing, too
                if not left:
                    self._try_note("error", stage="heal", message=error.message)
            except KeyboardInterrupt as error:
                interrupt = error
        self._try_note("heal-end")
        if interrupt is not None:
            raise interrupt

    def _wait_for_healthy(self) -> None:
        self._stage.say("waiting until healthy")
        try:
            with self._stage.interrupts.allowed():
                self._lab.wait_healthy(self._scenario.heal)
            self.recorder.write("healthy-again")
            self._note_redundant()
            self._wait_for_good_to_end()
            holders = find_holders(self._lab)
            self.recorder.write("holders", phase="healed", holders=holders)
        except LabError as error:
            self._note_error("healthy again", error)
            holders = ()
        if self._site is not None:
            problems = [*check_holders(self._lab, holders), *find_traces(self._lab, self._lab.topology.nodes)]
            self.recorder.write("audit", phase="healed", problems=problems)

    def _wait_for_good_to_end(self) -> None:
        """Nobody could say how long an outage was in the middle of which the probes end."""
        if self._site is None:
            return
        if self._scenario.lasts:
            self._wait_for_good_again(self._stage.clock())
            return
        limit = self._scenario.recover + self._scenario.settle
        with contextlib.suppress(WaitTimeout), self._stage.interrupts.allowed():
            self._wait("the probes after healing", lambda: self._lookout.not_settled(self._healing), limit)

    def _audit_after_interrupt(self) -> None:
        """What an interrupt left: looked at until there is nothing, for a while; another interrupt ends that."""
        if self._site is None:
            return
        self._stage.say("looking whether anything was left behind")
        with self._stage.interrupts.allowed():
            problems = find_problems(self._lab, AUDIT_SECONDS * self._stage.patience)
        self._try_note("audit", phase="healed", problems=problems)
        for problem in problems:
            self._stage.say(f"left behind: {problem}")

    def _collect_logs(self) -> None:
        try:
            self._stage.collect_logs(self._lab, self._dir / HISTORY, self._dir, self._begun)
        except LabError as error:  # they explain a verdict and make none
            self._stage.say(f"logs: {error.message}")

    # --- help

    def _note_redundant(self) -> None:
        if not self._redundant:
            self._redundant = True
            self.recorder.write("redundant")

    def _note_error(self, stage: str, error: LabError) -> None:
        self._stage.say(f"{stage}: {error.message}")
        self.recorder.write("error", stage=stage, message=error.message)

    def _try_note(self, event: str, **fields: JsonValue) -> None:
        """A full disk must not keep a fault from being healed, so here it is only said."""
        try:
            with Recorder(self._dir / HISTORY, "fault", self._stage.clock, self._stage.wall) as record:
                record.write(event, **fields)
        except LabError as error:
            self._stage.say(error.message)

    def _wait(self, what: str, missing: Callable[[], str], timeout: float) -> bool:
        """Look until ``missing`` says nothing is; whether that took any time. Raises ``LabError``, also if a probe
        died."""
        stage = self._stage
        deadline = stage.clock() + timeout
        waited = False
        while True:
            self._lookout.look()
            self._lookout.check()
            if not (evidence := missing()):
                return waited
            waited = True
            if stage.clock() > deadline:
                raise WaitTimeout(f"{what}: not within {timeout:g} s; last seen: {evidence}")
            with stage.interrupts.allowed():
                stage.sleep(_POLL_SECONDS)


def heal_everything(lab: Lab, name: str) -> None:
    """Every fault that can be made on this machine, healed; those first that keep it from being reached."""
    node, balancer = lab.topology.node(name), lab.topology.load_balancer
    for fault in sorted(FAULTS.values(), key=lambda fault: not fault.needs):
        if fault.roles and node.role not in fault.roles:
            continue
        if not fault.stacks or (balancer is not None and balancer.ha in fault.stacks):
            fault.heal(Site(lab, (name,)))

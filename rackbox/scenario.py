"""Plays one scenario against a lab, once, and leaves a history. It judges nothing.

preflight (heal what was left behind, lab healthy, one holder) → probes → good for a second → break → good again, and
for a while → heal → healthy again → probes end. Whatever happens on the way, Ctrl-C included, the fault is healed and
the probes are gone. Entry point: ``play_scenario``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rackbox.errors import LabError, WaitTimeout
from rackbox.faults import FAULTS, Site
from rackbox.history import ATTEMPT, PROBE_SOURCE, HistoryError, JsonValue, as_attempt
from rackbox.interrupts import Interrupts
from rackbox.machine import Lab
from rackbox.outage import BASELINE_SECONDS
from rackbox.probes import PROBES, ProbeSettings
from rackbox.probes.process import RunningProbe, plan_settings, start_probe
from rackbox.recorder import HistoryTail, Recorder
from rackbox.scenarios import Scenario
from rackbox.targets import find_holders, list_candidates, resolve_target

HISTORY = "history.jsonl"
PREFLIGHT_SECONDS = 30.0
START_SECONDS = 20.0
HEAL_TRIES = 3
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Stage:
    """What a run needs of the world besides the lab; tests put in a clock of their own and probes that only pretend."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    start_probe: Callable[[Lab, ProbeSettings, Path], RunningProbe] = start_probe
    say: Callable[[str], None] = lambda text: None
    interrupts: Interrupts = field(default_factory=Interrupts)


@dataclass(slots=True)
class _Sight:
    """What the test has seen of one probe so far: enough to know when to go on, not to judge."""

    first: float = 0.0
    newest_good: float = 0.0
    newest_bad: float = 0.0


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
        self._tail = HistoryTail(run_dir / HISTORY)
        self._probes: dict[str, RunningProbe] = {}
        self._sights: dict[str, _Sight] = {}
        self._site: Site | None = None

    def play(self) -> None:
        try:
            self._preflight()
            try:
                self._start_probes()
                self._wait_for_good()
                self._break()
                self._wait_for_good_again()
                self._note_holders("recovered")
            except LabError as error:
                self._note_error("test", error)
            finally:
                self._heal()
            self._wait_for_healthy()
        except KeyboardInterrupt:
            self.recorder.write("interrupted")
            raise
        finally:
            self._end_probes()
            self.recorder.write("run-end")
            self.recorder.sync()

    # --- before

    def _preflight(self) -> None:
        """Heal what an earlier test may have left on any machine that could be the target, and see the lab healthy."""
        self._stage.say("preflight")
        names = list_candidates(self._lab.topology, self._scenario.target)
        for name in names:
            self._fault.heal(Site(self._lab, (name,)))
        try:
            with self._stage.interrupts.allowed():
                self._lab.wait_healthy(PREFLIGHT_SECONDS)
        except WaitTimeout as error:  # not a verdict: nothing was broken, nothing was measured
            hint = "`./lab status` shows what is wrong, `./lab up` brings back what is off"
            raise LabError(f"before the fault: {error.message}", hint) from error
        holders = self._note_holders("before")
        if self._scenario.one_holder and len(holders) != 1:
            raise LabError(
                f"holders of the floating IP before the fault: {', '.join(holders) or 'none'}; must be one",
                "`./lab status` shows what is wrong with the lab",
            )

    def _start_probes(self) -> None:
        scenario = self._scenario
        bound = START_SECONDS + scenario.recover + scenario.settle + scenario.heal + 120.0
        for name in scenario.probes:
            pace = PROBES[name].pace
            settings = plan_settings(self._lab, name, self._dir / HISTORY, self._dir.name, pace, bound)
            self._sights[name] = _Sight()
            self._probes[name] = self._stage.start_probe(self._lab, settings, self._dir / f"probe-{name}.log")

    def _wait_for_good(self) -> None:
        """Every probe good for a second and a bit without a break: the calm that the fault is seen against."""
        self._stage.say("probing")
        calm = BASELINE_SECONDS + 0.2

        def seen(now: float) -> str:
            short = [
                name
                for name, sight in self._sights.items()
                if not sight.first or sight.newest_good - max(sight.newest_bad, sight.first) < calm
            ]
            return f"not yet good for {calm:g} s: {', '.join(short)}" if short else ""

        self._wait("the probes before the fault", seen, START_SECONDS)
        self.recorder.write("good-before")

    # --- the fault

    def _break(self) -> None:
        scenario, fault = self._scenario, self._fault
        names = resolve_target(self._lab, scenario.target)
        site = self._site = Site(self._lab, names)  # from here on there is something to heal
        record = Recorder(self._dir / HISTORY, "fault", self._stage.clock, self._stage.wall)
        with record:
            record.write("target", target=scenario.target, machines=names)
            record.write("setup-start")
            fault.setup(site)
            record.write("setup-end")
            before = fault.evidence(site)
            record.write("evidence", phase="before", seen=before)
            self._stage.say(f"{scenario.fault} on {', '.join(names)}")
            record.write("inject-start", fault=fault.name)
            fault.inject(site)
            record.write("inject-end", fault=fault.name)
            after = fault.evidence(site)
            record.write("evidence", phase="after", seen=after)
            bitten = fault.bitten(before, after)
            record.write("bite", bitten=bitten, detail=f"before: {dict(before)}, after: {dict(after)}")

    def _wait_for_good_again(self) -> None:
        """Good, and good for ``settle`` seconds in a row; gives up after ``recover`` seconds, which is no error: what
        the probes saw says all."""
        settle, injected = self._scenario.settle, self._stage.clock()

        def seen(now: float) -> str:
            short = [
                name
                for name, sight in self._sights.items()
                if sight.newest_good - max(sight.newest_bad, injected) < settle
            ]
            return f"not good for {settle:g} s: {', '.join(short)}" if short else ""

        try:
            self._wait("the probes after the fault", seen, self._scenario.recover + settle)
        except WaitTimeout as error:
            self.recorder.write("not-good-again", message=error.message)
        else:
            self.recorder.write("good-again")

    # --- after

    def _heal(self) -> None:
        """Mend whatever was begun. Never raises but for an interrupt, and for that only when it is done."""
        if self._site is None:
            return
        self._stage.say("healing")
        interrupt: KeyboardInterrupt | None = None
        self._try_note("heal-start")
        for left in reversed(range(HEAL_TRIES)):
            try:
                self._fault.heal(self._site)
                self._fault.teardown(self._site)
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
            self._note_holders("healed")
        except LabError as error:
            self._note_error("healthy again", error)

    def _end_probes(self) -> None:
        for probe in self._probes.values():
            probe.ask_to_end()
        for probe in self._probes.values():
            probe.wait_for_end()

    # --- help

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

    def _note_holders(self, phase: str) -> tuple[str, ...]:
        if not self._scenario.one_holder:
            return ()
        holders = find_holders(self._lab)
        self.recorder.write("holders", phase=phase, holders=holders)
        return holders

    def _wait(self, what: str, missing: Callable[[float], str], timeout: float) -> None:
        """Look at the probes until ``missing`` says nothing is. Raises ``LabError``, also if a probe died."""
        stage = self._stage
        deadline = stage.clock() + timeout
        while True:
            self._look()
            if not (evidence := missing(stage.clock())):
                return
            for probe in self._probes.values():
                if end := probe.ended():
                    raise LabError(end)
            if stage.clock() > deadline:
                raise WaitTimeout(f"{what}: not within {timeout:g} s; last seen: {evidence}")
            with stage.interrupts.allowed():
                stage.sleep(_POLL_SECONDS)

    def _look(self) -> None:
        for record in self._tail.read_new():
            if record.event != ATTEMPT:
                continue
            try:
                attempt = as_attempt(record)
            except HistoryError:
                continue  # the verdict will say so
            sight = self._sights.get(record.source.removeprefix(PROBE_SOURCE))
            if sight is None:
                continue
            sight.first = sight.first or attempt.start
            if attempt.good:
                sight.newest_good = max(sight.newest_good, attempt.start)
            else:
                sight.newest_bad = max(sight.newest_bad, attempt.start)

"""Everything that looks on while a scenario is played: its probes and the watchers on the balancers.

It starts them, follows what they write far enough to know when to go on (to judge is the verdict's), and ends them. All
are gone after ``end``, whatever happened. Entry point: ``Lookout``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rackbox.errors import LabError
from rackbox.history import ATTEMPT, PROBE_SOURCE, HistoryError, as_attempt
from rackbox.machine import Lab
from rackbox.outage import BASELINE_SECONDS, baseline_seconds
from rackbox.probes import PROBES, ProbeSettings
from rackbox.probes.process import RunningProbe, plan_settings
from rackbox.recorder import HistoryTail
from rackbox.scenarios import Scenario
from rackbox.watchers import Watchers

_SPARE_CALM = 0.2
CALM_SECONDS = BASELINE_SECONDS + _SPARE_CALM
"""How long every probe must have been good without a break before anything is broken; the judged one for longer, where
it asks so seldom that the verdict would have too little to go by."""
_SPARE_SECONDS = 140.0


class NoWatchers:
    """Where there is no pair to watch."""

    def ended(self) -> str:
        return ""

    def ask_to_end(self) -> None:
        pass

    def wait_for_end(self) -> None:
        pass


StartProbe = Callable[[Lab, ProbeSettings, Path], RunningProbe]
StartWatchers = Callable[[Lab, Path, Path], Watchers]


@dataclass(slots=True)
class _Sight:
    """What was seen of one probe so far."""

    calm: float = CALM_SECONDS
    first: float = 0.0
    newest_good: float = 0.0
    newest_bad: float = 0.0
    good_until: float = 0.0
    bad_until: float = 0.0


class Lookout:
    """The onlookers of one run. ``history`` is the file that they write to."""

    def __init__(self, lab: Lab, scenario: Scenario, history: Path) -> None:
        self._lab = lab
        self._scenario = scenario
        self._history = history
        self._tail = HistoryTail(history)
        self._probes: dict[str, RunningProbe] = {}
        self._sights: dict[str, _Sight] = {}
        self._watchers: Watchers = NoWatchers()

    def start(self, start_probe: StartProbe, start_watchers: StartWatchers) -> None:
        """Raises ``LabError`` when one cannot be started."""
        scenario, run_dir = self._scenario, self._history.parent
        if scenario.watchers and len(self._lab.topology.by_role("lb")) > 1:
            self._watchers = start_watchers(self._lab, self._history, run_dir)
        waits = scenario.start + scenario.recover + scenario.settle  # each of them once more at the end of another
        bound = 2 * waits + scenario.heal + _SPARE_SECONDS
        for name in scenario.probes:
            settings = plan_settings(self._lab, name, self._history, run_dir.name, PROBES[name].pace, bound)
            judged = baseline_seconds(settings.interval) + _SPARE_CALM
            self._sights[name] = _Sight(judged if name == scenario.judged else CALM_SECONDS)
            self._probes[name] = start_probe(self._lab, settings, run_dir / f"probe-{name}.log")

    @property
    def longest_calm(self) -> float:
        """How many seconds it takes at least until ``not_calm`` has nothing to say."""
        return max((sight.calm for sight in self._sights.values()), default=CALM_SECONDS)

    def not_calm(self, now: float) -> str:
        """Which probes have not been good for long enough since they began, or since their last failure was over, or
        have said nothing lately; empty: all is well."""
        short = [
            name
            for name, sight in self._sights.items()
            if not sight.first
            or sight.newest_good - max(sight.bad_until, sight.first) < sight.calm
            or now - sight.good_until > sight.calm + _SPARE_CALM
        ]
        return f"not yet good for {self.longest_calm:g} s: {', '.join(short)}" if short else ""

    def not_settled(self, since: float) -> str:
        """Which probes have not been good for the scenario's ``settle`` seconds, all of them after ``since``."""
        settle = self._scenario.settle
        short = [
            name for name, sight in self._sights.items() if sight.newest_good - max(sight.newest_bad, since) < settle
        ]
        return f"not good for {settle:g} s: {', '.join(short)}" if short else ""

    def check(self) -> None:
        """Raises ``LabError`` when one has ended before its time."""
        for onlooker in self._onlookers:
            if end := onlooker.ended():
                raise LabError(end)

    def look(self) -> None:
        """Take in what was written since the last look."""
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
                sight.good_until = max(sight.good_until, attempt.end)
            else:
                sight.newest_bad = max(sight.newest_bad, attempt.start)
                sight.bad_until = max(sight.bad_until, attempt.end)

    def end(self) -> None:
        """Ask all of them to finish, then wait until they are gone."""
        for onlooker in self._onlookers:
            onlooker.ask_to_end()
        for onlooker in self._onlookers:
            onlooker.wait_for_end()

    @property
    def _onlookers(self) -> tuple[RunningProbe | Watchers, ...]:
        return (*self._probes.values(), self._watchers)

"""What keeps a run from proving anything: nobody was looking, the fault did not bite, the history is damaged. Pure.

Each ``check_…`` gives reasons, none if all is well; a run with a reason is *unknown*, whatever its figures.
"""

from __future__ import annotations

from collections.abc import Sequence

from rackbox.history import PROBE_SOURCE, Attempt, History, HistoryError, Record
from rackbox.outage import baseline, baseline_seconds, find_starvation

MIN_GOOD_BEFORE = 10


def check_file(history: History) -> list[str]:
    if not history.problems:
        return []
    more = f" (and {len(history.problems) - 1} more)" if len(history.problems) > 1 else ""
    return [f"history is damaged: {history.problems[0]}{more}"]


def check_end(history: History) -> list[str]:
    doubts = [f"{record.text('stage')}: {record.text('message')}" for record in history.events("error")]
    if history.first("interrupted") is not None:
        doubts.append("the run was interrupted")
    elif history.first("run-end") is None:
        doubts.append("the run did not come to its end")
    doubts += [
        f"probe {record.source.removeprefix(PROBE_SOURCE)} broke down: {record.text('message')}"
        for record in history.events("probe-crash")
    ]
    return doubts


def check_bite(history: History, header: Record) -> list[str]:
    """The proof comes from the fault, not from the probes: a fault may well cause no failed request at all."""
    if not header.flag("expects_bite"):
        return []
    evidence = history.last("bite")
    if evidence is None:
        return ["whether the fault did bite was not recorded"]
    return [] if evidence.flag("bitten") else [f"the fault was not seen to bite: {evidence.text('detail', '')}"]


def check_probe(history: History, header: Record, judged: str, injected: Record) -> list[str]:
    attempts = history.attempts(judged)
    interval = read_interval(history, judged)
    seconds = baseline_seconds(interval)
    before = baseline(attempts, injected.t, seconds)
    good = sum(attempt.good for attempt in before)
    needed = max(1, min(MIN_GOOD_BEFORE, int(0.8 * seconds / interval)))
    doubts: list[str] = []
    if good < needed:
        doubts.append(f"{judged}: {good} good attempts in the {seconds:g} s before the fault; needs {needed}")
    if bad := len(before) - good:
        doubts.append(f"{judged}: {bad} failed attempts in the {seconds:g} s before the fault")
    if starved := find_starvation(attempts, injected.t - seconds, _watch_end(history, attempts), interval):
        doubts.append(f"{judged} {starved}")
    return doubts


def check_holders(history: History, header: Record) -> list[str]:
    if not header.flag("one_holder"):
        return []
    doubts: list[str] = []
    for phase, words in (("recovered", "after recovery"), ("healed", "after healing")):
        audit = next((r for r in reversed(history.events("holders")) if r.text("phase") == phase), None)
        if audit is None:
            doubts.append(f"the floating IP's holders {words} were not recorded")
        elif len(audit.texts("holders")) != 1:
            doubts.append(f"holders of the floating IP {words}: {', '.join(audit.texts('holders')) or 'none'}")
    return doubts


def read_interval(history: History, probe: str) -> float:
    start = history.first("probe-start", PROBE_SOURCE + probe)
    if start is None:
        raise HistoryError(f"probe {probe} never started")
    interval = start.number("interval_ms") / 1000
    if interval <= 0:
        raise HistoryError(f"probe {probe}: interval must be above 0")
    return interval


def _watch_end(history: History, attempts: Sequence[Attempt]) -> float:
    """Until when the probe must have been looking: healing, which may load the computer, is looked at apart."""
    heal = history.last("heal-start")
    if heal is not None:
        return heal.t
    end = history.last("run-end")
    return end.t if end else (attempts[-1].start if attempts else 0.0)

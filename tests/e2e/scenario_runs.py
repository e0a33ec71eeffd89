"""Before a run of `failover-test` that is not about a busy computer, and after one that did not hold."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rackbox.recorder import load_history

_SPOKE = re.compile(r"is (?:DOWN|UP)|new election|(?:lost|became|elected) .*leader|no leader|leader changed")
LINES = 20
LOOSE = 5.0
"""A sanity bound, in budgets: two cores start a whole master meanwhile."""


def wait_for_calm(seconds: float = 120.0) -> None:
    """Two cores that still start pods are late with everything; that is not what scenarios are about."""
    end = time.monotonic() + seconds
    while os.getloadavg()[0] > 8 and time.monotonic() < end:
        time.sleep(2)


def the_run_that_held(report: dict[str, Any], *, but_for_healing: bool) -> dict[str, Any]:
    """The only run of a report of `failover-test --json`: held, or, ``but_for_healing``, at fault in nothing but how
    long an outage was after healing began."""
    ((run,),) = (scenario["runs"] for scenario in report["scenarios"])
    directory = Path(report["runs"], run["run"])
    said = "\n".join([run["verdict"], *run["reasons"], explain_run(directory)])
    if but_for_healing and run["verdict"] == "over budget":
        print(said)
        assert run["outage_ms"] is not None, said
        assert run["outage_ms"] <= run["budget_ms"], said
        assert run["figures"]["second_outage_healing_ms"]["value"] <= LOOSE * run["budget_ms"], said
        (reason,) = run["reasons"]
        assert reason.startswith("after healing began: outage "), said
        assert "never good" not in reason, said
    else:
        assert run["verdict"] == "held", said
    return dict(run)


def explain_run(directory: Path) -> str:
    """The fault's steps; by probe, answers other than good ones: when (seconds since the fault), how often in a row,
    what they were; then what balancers and etcd said."""
    history = load_history(directory / "history.jsonl")
    injected = history.first("inject-start")
    zero = injected.t if injected else 0.0
    lines = [f"{record.t - zero:8.1f} s {record.event}" for record in history.records if record.source == "fault"]
    for source in sorted({record.source for record in history.events("attempt")}):
        probe = source.partition(":")[2]
        for (good, detail), row in groupby(history.attempts(probe), lambda a: (a.good, "" if a.good else a.detail)):
            attempts = list(row)
            if not good:
                lines.append(f"{attempts[0].start - zero:8.1f} s {probe}: {len(attempts)} × {detail[:120]}")
    return "\n".join([*lines, *_words(directory)])


def _words(directory: Path) -> Iterator[str]:
    for journal in sorted(directory.glob("journal-*.log")):
        said = [line for line in journal.read_text(errors="replace").splitlines() if _SPOKE.search(line)]
        yield f"{journal.stem}: {len(said)} such lines"
        yield from (line[:240] for line in said[:LINES])

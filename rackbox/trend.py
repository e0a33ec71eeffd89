"""How the scenarios came out over time: one point for each scenario of each stored series.

Read from the ``verdict.json`` of every run and the first line of its history, so that hundreds of runs are read in a
moment. Entry points: ``read_trend``, ``render_trend``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from rackbox.history import HistoryError, JsonValue, parse_record
from rackbox.outage import percentile
from rackbox.verdict import Verdict, combine

VERDICTS: Mapping[str, Verdict] = {"held": "held", "over budget": "over budget", "unknown": "unknown"}


@dataclass(frozen=True, slots=True)
class Point:
    """One scenario of one series. ms; ``group`` is the series' time stamp, ``box`` the box's version, ``setup`` what
    keeps the floating IP and how (``pacemaker``, ``keepalived, extreme``): figures of two setups are not compared."""

    group: str
    scenario: str
    setup: str
    box: str
    runs: int
    p50: float | None
    p95: float | None
    worst: float | None
    budget: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What the trend wants of one run."""

    group: str
    scenario: str
    setup: str
    box: str
    outage: float | None
    budget: float | None
    verdict: Verdict


def read_trend(runs: Path) -> tuple[Point, ...]:
    """Every series stored under ``runs``, oldest first. What cannot be read is left out: a trend proves nothing."""
    found: list[StoredRun] = []
    for path in sorted(runs.glob("*/verdict.json")) if runs.is_dir() else ():
        if path.parent.name.startswith("broken-off"):
            continue
        try:
            with (path.parent / "history.jsonl").open(encoding="utf-8", errors="replace") as stream:
                header = parse_record(stream.readline()).fields
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, HistoryError):
            continue
        if isinstance(stored, dict):
            found.append(_stored_run(header, stored))
    return tuple(gather(found))


def gather(runs: Iterable[StoredRun]) -> list[Point]:
    """Runs of one scenario and setup in one series are one point."""
    series: dict[tuple[str, str, str], list[StoredRun]] = {}
    for run in runs:
        series.setdefault((run.group, run.scenario, run.setup), []).append(run)
    points = []
    for (group, scenario, setup), members in sorted(series.items()):
        outages = [run.outage for run in members if run.outage is not None]
        points.append(
            Point(
                group=group,
                scenario=scenario,
                setup=setup,
                box=members[-1].box,
                runs=len(members),
                p50=percentile(outages, 50),
                p95=percentile(outages, 95),
                worst=max(outages, default=None),
                budget=members[-1].budget,
                verdict=combine([run.verdict for run in members]),
            )
        )
    return points


def trend_json(points: Sequence[Point]) -> list[dict[str, JsonValue]]:
    """The points as data for ``--trend --json``."""
    return [
        {
            "group": point.group,
            "scenario": point.scenario,
            "setup": point.setup,
            "box": point.box,
            "repeat": point.runs,
            "outage_ms": {"p50": point.p50, "p95": point.p95, "max": point.worst},
            "budget_ms": point.budget,
            "verdict": point.verdict,
        }
        for point in points
    ]


def render_trend(points: Sequence[Point]) -> Table:
    """The table that ``--trend`` prints: by scenario, so that a column is read downwards."""
    table = Table(box=None, pad_edge=False)
    for column in ("scenario", "setup", "series", "box"):
        table.add_column(column, no_wrap=column == "series", overflow="fold")
    for column in ("n", "p50", "p95", "max", "budget"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for point in sorted(points, key=lambda point: (point.scenario, point.setup, point.group)):
        figures = (point.p50, point.p95, point.worst, point.budget)
        told = ("–" if value is None else f"{value:.0f}" for value in figures)
        table.add_row(point.scenario, point.setup, point.group, point.box, str(point.runs), *told, point.verdict)
    return table


def _stored_run(header: Mapping[str, JsonValue], stored: Mapping[str, JsonValue]) -> StoredRun:
    facts = header.get("facts")
    return StoredRun(
        group=str(header.get("group", "")),
        scenario=str(stored.get("scenario", "?")),
        setup=describe_setup(header),
        box=str(facts.get("box") or "") if isinstance(facts, Mapping) else "",
        outage=_number(stored.get("outage_ms")),
        budget=_number(stored.get("budget_ms")),
        verdict=VERDICTS.get(str(stored.get("verdict")), "unknown"),
    )


def describe_setup(header: Mapping[str, JsonValue]) -> str:
    """The stack that a run was made on, from its header: ``pacemaker, third vote, fencing``."""
    words = [str(header.get("ha") or "no balancers")]
    if header.get("profile") not in (None, "default"):
        words.append(str(header["profile"]))
    if header.get("ha") == "pacemaker" and "fencing" in header:
        words += [word for key, word in (("third_vote", "third vote"), ("fencing", "fencing")) if header.get(key)]
    return ", ".join(words)


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

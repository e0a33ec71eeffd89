"""A failover test as one HTML page that needs nothing else: no network, no other file, no plotting library. Pure.

What a reader wants first comes first: the verdict, the table over scenarios, then each scenario with its runs, then how
it went before. Of a long series only some runs are drawn in full (``choose_stories``), the others are a row. The page
allows itself nothing but its own style and script (a content security policy with their hashes), so a message in a log
cannot do anything. Entry points: ``render_page``, ``choose_stories``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby

from jinja2 import DictLoader, Environment, StrictUndefined

from rackbox.history import History, JsonValue
from rackbox.lanes import draw_run, draw_whole_run, line_anchor, lines_by_machine
from rackbox.measures import FIGURES, Figure
from rackbox.picture import LANE, LEFT, TOP, WIDTH, Picture
from rackbox.report import FailoverReport
from rackbox.trend import Point, describe_setup
from rackbox.verdict import RunVerdict, ScenarioVerdict

MAX_STORIES = 4
MAX_ALL_STORIES = 60
MAX_EXCERPT = 40
_TREND_WIDTH, _TREND_HEIGHT = 340.0, 120.0
_STRIP_WIDTH = 220.0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A machine's log lines beside a picture: (anchor, time after the fault, unit, message, noticed, seconds)."""

    machine: str
    lines: tuple[tuple[str, str, str, str, bool, float], ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Story:
    """One run in full."""

    run: RunVerdict
    number: int
    close: Picture | None
    whole: Picture | None
    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True, slots=True)
class Dot:
    """A run or a series in a small chart."""

    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    """A scenario's outages along its budget. Positions in the strip's own units."""

    dots: tuple[Dot, ...]
    budget: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """One scenario's trend: the p50 and p95 lines as SVG points, a dot for each series, where the box changed."""

    scenario: str
    setup: str
    p50: str
    p95: str
    dots: tuple[Dot, ...]
    boxes: tuple[tuple[float, str], ...]
    budget: float | None
    top: str
    first: str
    last: str


def choose_stories(scenario: ScenarioVerdict, most: int = MAX_STORIES) -> tuple[RunVerdict, ...]:
    """The runs of a scenario to be told in full, in the order in which they were made: those that did not hold first,
    then the worst, the median, and the first ones."""
    by_outage = sorted(scenario.runs, key=lambda run: run.outage.seconds if run.outage else -1.0)
    wanted = [run for run in scenario.runs if run.verdict != "held"][:most]
    for run in (by_outage[-1:], by_outage[(len(by_outage) - 1) // 2 :][:1], scenario.runs):
        wanted += [one for one in run if one not in wanted]
    chosen = {run.run for run in wanted[:most]}
    return tuple(run for run in scenario.runs if run.run in chosen)


def render_page(
    report: FailoverReport,
    histories: Mapping[str, History],
    trend: Sequence[Point],
    sources: Mapping[str, str],
) -> str:
    """The page. ``histories`` are those of the runs to be told in full, by the run's name; ``sources`` the template's
    files by name (``report.html.j2``, ``report.css``, ``report.js``)."""
    environment = Environment(
        loader=DictLoader(dict(sources)),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ms=_ms, number=_number, slug=_slug, stamp=_stamp)
    stories = {scenario.scenario: _stories(scenario, histories) for scenario in report.scenarios}
    return environment.get_template("report.html.j2").render(
        report=report,
        style=sources["report.css"],
        script=sources["report.js"],
        style_hash=_hash(sources["report.css"]),
        script_hash=_hash(sources["report.js"]),
        facts=_facts(report, histories),
        strips={scenario.scenario: _strip(scenario) for scenario in report.scenarios},
        strip_width=_STRIP_WIDTH,
        stories=stories,
        told={story.run.run for told in stories.values() for story in told},
        meanings=FIGURES,
        charts=draw_trend(trend, [scenario.scenario for scenario in report.scenarios]),
        trend_width=_TREND_WIDTH,
        trend_height=_TREND_HEIGHT,
        geometry={"width": WIDTH, "left": LEFT, "top": TOP, "lane": LANE},
    )


def _stories(scenario: ScenarioVerdict, histories: Mapping[str, History]) -> list[Story]:
    found = []
    for number, run in enumerate(scenario.runs, start=1):
        history = histories.get(run.run)
        if history is None:
            continue
        close, whole = draw_run(history, run.run), draw_whole_run(history, run.run)
        excerpts = _excerpts(history, run.run, close)
        anchors = {line[0] for excerpt in excerpts for line in excerpt.lines}
        found.append(Story(run, number, _link_to(close, anchors), _link_to(whole, anchors), excerpts))
    return found


def _link_to(picture: Picture | None, anchors: set[str]) -> Picture | None:
    """The picture with links to lines that are on the page, and no others."""
    if picture is None:
        return None
    lanes = [
        replace(lane, marks=tuple(m if m.link in anchors or not m.link else replace(m, link="") for m in lane.marks))
        for lane in picture.lanes
    ]
    return replace(picture, lanes=tuple(lanes))


def _excerpts(history: History, run: str, picture: Picture | None) -> tuple[Excerpt, ...]:
    """Of each machine the lines within the picture's time, what was noticed first of all, in order of time."""
    injected = history.first("inject-start")
    if injected is None or picture is None:
        return ()
    found: list[Excerpt] = []
    for machine, lines in lines_by_machine(history).items():
        inside = [line for line in lines if picture.begin <= line[1][0] - injected.t <= picture.begin + picture.seconds]
        kept = sorted(sorted(inside, key=lambda line: not line[1][3])[:MAX_EXCERPT], key=lambda line: line[0])
        rows = tuple(
            (line_anchor(run, machine, number), f"{t - injected.t:+.3f}", unit, message, noticed, t - injected.t)
            for number, (t, unit, message, noticed) in kept
        )
        if rows:
            found.append(Excerpt(machine, rows, len(inside) - len(rows)))
    return tuple(sorted(found, key=lambda excerpt: -sum(row[4] for row in excerpt.lines)))


def _facts(report: FailoverReport, histories: Mapping[str, History]) -> list[tuple[str, str]]:
    """What stands beside every figure: where it was measured, and with what."""
    header = next((h.header.fields for h in histories.values() if h.header), {})
    facts, software = header.get("facts"), header.get("software")
    kept: list[tuple[str, JsonValue]] = [
        ("series", report.group),
        ("lab", f"{report.lab}, {header.get('machines', '?')} machines, {report.provider}"),
        ("stack", describe_setup(header)),
    ]
    if isinstance(software, Mapping):
        kept.append(("rackbox", software.get("rackbox")))
    if isinstance(facts, Mapping):
        kept += [("box", facts.get("box")), ("kernel", facts.get("kernel")), ("cgroups", facts.get("cgroups"))]
    kept += [
        ("processors", header.get("cpus")),
        ("probe", f"every {header.get('probe_interval_ms', '?')} ms, waits {header.get('probe_timeout_ms', '?')} ms"),
    ]
    return [(name, str(value)) for name, value in kept if value not in (None, "")]


def _strip(scenario: ScenarioVerdict) -> Strip:
    outages = [(run, run.outage) for run in scenario.runs if run.outage is not None]
    top = max([outage.seconds for _, outage in outages] + [scenario.budget or 0.0, 1e-3]) * 1.08
    dots = tuple(
        Dot(6 + outage.seconds / top * (_STRIP_WIDTH - 12), 8 + (index % 3) * 4, _slug(run.verdict), _title(run))
        for index, (run, outage) in enumerate(outages)
    )
    budget = None if scenario.budget is None else 6 + scenario.budget / top * (_STRIP_WIDTH - 12)
    return Strip(dots, budget)


def _title(run: RunVerdict) -> str:
    return f"{run.run}: {_ms(run.outage.seconds if run.outage else None)} ms, {run.verdict}"


def draw_trend(points: Sequence[Point], scenarios: Sequence[str]) -> list[Chart]:
    """A chart for each of ``scenarios`` and setup that has been played in two series or more."""
    charts: list[Chart] = []
    wanted = sorted((p for p in points if p.scenario in scenarios and p.p50 is not None), key=_chart_key)
    for (scenario, setup), members in groupby(wanted, key=lambda p: (p.scenario, p.setup)):
        series = list(members)
        if len(series) > 1:
            charts.append(_chart(scenario, setup, series))
    return sorted(charts, key=lambda chart: scenarios.index(chart.scenario))


def _chart_key(point: Point) -> tuple[str, str, str]:
    return point.scenario, point.setup, point.group


def _chart(scenario: str, setup: str, series: Sequence[Point]) -> Chart:
    budget = series[-1].budget
    top = max([p.p95 or 0.0 for p in series] + [budget or 0.0, 1.0]) * 1.1
    left, right, upper, lower = 8.0, _TREND_WIDTH - 8.0, 8.0, _TREND_HEIGHT - 8.0

    def place(index: int, value: float) -> tuple[float, float]:
        x = left + (right - left) * (index / (len(series) - 1))
        return round(x, 1), round(lower - value / top * (lower - upper), 1)

    lines = [
        " ".join(",".join(map(str, place(i, v))) for i, p in enumerate(series) if (v := getattr(p, name)) is not None)
        for name in ("p50", "p95")
    ]
    dots = tuple(
        Dot(*place(i, p.p95 or 0.0), _slug(p.verdict), f"{p.group}: p50 {p.p50:.0f}, p95 {p.p95:.0f} ms of {p.runs}, "
            f"{p.verdict}; box {p.box or '?'}")
        for i, p in enumerate(series)
    )  # fmt: skip
    boxes = tuple(
        (place(i, 0.0)[0], f"box {p.box}") for i, p in enumerate(series) if i and p.box and p.box != series[i - 1].box
    )
    level = None if budget is None else place(0, budget)[1]
    first, last = _day(series[0].group), _day(series[-1].group)
    return Chart(scenario, setup, lines[0], lines[1], dots, boxes, level, f"{top:.0f}", first, last)


def _day(group: str) -> str:
    try:
        return datetime.strptime(group, "%Y%m%dT%H%M%S").strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return group


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f}"


def _number(figure: Figure | float | None) -> str:
    value = figure.value if isinstance(figure, Figure) else figure
    return "–" if value is None else f"{value:.0f}"


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower())


def _stamp(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if wall else ""

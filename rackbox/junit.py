"""A failover test as JUnit XML, for CI systems: one test case for each repeat of a scenario. Pure.

Over budget is a *failure* (the lab broke its promise), unknown an *error* (nothing was proven); both make a CI job red.
The form is that of Ant's JUnit task, which CI systems agree on (the schema is windyroad/JUnit-Schema on GitHub): suites
with ``properties``, ``system-out`` and ``system-err``, times in seconds, a time stamp without a zone (UTC).
Entry point: ``render_junit``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from rackbox.measures import FIGURES
from rackbox.report import FailoverReport
from rackbox.verdict import RunVerdict, ScenarioVerdict

# What XML 1.0 does not allow in a document, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: FailoverReport) -> str:
    """The whole document, one suite for each scenario."""
    suites = ET.Element("testsuites")
    for number, scenario in enumerate(report.scenarios):
        suites.append(_suite(report, scenario, number))
    if report.cut_short:
        suites.append(_cut_short(report, len(report.scenarios)))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _suite(report: FailoverReport, scenario: ScenarioVerdict, number: int) -> ET.Element:
    runs = scenario.runs
    suite = _begin_suite(
        report,
        scenario.scenario,
        number,
        begun=min((run.begun for run in runs if run.begun), default=0.0),
        tests=len(runs),
        failures=sum(run.verdict == "over budget" for run in runs),
        errors=sum(run.verdict == "unknown" for run in runs),
        seconds=sum(run.seconds for run in runs),
    )
    properties = ET.SubElement(suite, "properties")
    facts = {
        "lab": report.lab,
        "provider": report.provider,
        "series": report.group,
        "box": next((run.box for run in runs if run.box), ""),
        "verdict": scenario.verdict,
        "budget_ms": _ms(scenario.budget),
        "outage_ms.p50": _ms(scenario.p50),
        "outage_ms.p95": _ms(scenario.p95),
        "outage_ms.max": _ms(scenario.worst),
        "resolution_ms": _ms(scenario.resolution),
        **{f"{summary.name}.p95": f"{summary.p95:g}" for summary in scenario.summaries},
    }
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=_clean(value))
    for index, run in enumerate(runs, start=1):
        suite.append(_case(report, run, index))
    ET.SubElement(suite, "system-out").text = _clean("\n".join(_tell(run) for run in runs))
    ET.SubElement(suite, "system-err")
    return suite


def _case(report: FailoverReport, run: RunVerdict, index: int) -> ET.Element:
    case = ET.Element(
        "testcase",
        name=_clean(f"{run.scenario} {index}"),
        classname=_clean(f"rackbox.{report.lab}.{run.scenario}"),
        time=f"{run.seconds:.3f}",
    )
    if run.verdict != "held":
        kind = "failure" if run.verdict == "over budget" else "error"
        first = run.reasons[0] if run.reasons else run.verdict
        problem = ET.SubElement(case, kind, message=_clean(first), type=run.verdict)
        problem.text = _clean("\n".join([*run.reasons, *run.notes, f"run: {run.run}"]))
    return case


def _cut_short(report: FailoverReport, number: int) -> ET.Element:
    """A series that could not be played to its end is red, too."""
    suite = _begin_suite(report, "series", number, begun=0.0, tests=1, failures=0, errors=1, seconds=0.0)
    ET.SubElement(suite, "properties")
    case = ET.SubElement(suite, "testcase", name="played to its end", classname=f"rackbox.{report.lab}", time="0.000")
    why = report.notes[-1] if report.notes else "cut short"
    ET.SubElement(case, "error", message=_clean(why), type="unknown").text = _clean("\n".join(report.notes))
    ET.SubElement(suite, "system-out")
    ET.SubElement(suite, "system-err")
    return suite


def _begin_suite(
    report: FailoverReport,
    name: str,
    number: int,
    *,
    begun: float,
    tests: int,
    failures: int,
    errors: int,
    seconds: float,
) -> ET.Element:
    return ET.Element(
        "testsuite",
        id=str(number),
        name=_clean(name) or "?",
        package=_clean(f"rackbox.{report.lab}"),
        timestamp=datetime.fromtimestamp(begun, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        hostname="localhost",
        tests=str(tests),
        failures=str(failures),
        errors=str(errors),
        time=f"{seconds:.3f}",
    )


def _tell(run: RunVerdict) -> str:
    """One run's figures, a line each."""
    lines = [f"{run.run}: {run.verdict}"]
    if run.outage:
        lines.append(f"  outage: {_ms(run.outage.seconds)} ± {_ms(run.outage.resolution)} ms")
    for figure in run.figures:
        if figure.value is not None:
            unit = " ms" if figure.name.endswith("_ms") else ""
            lines.append(f"  {FIGURES[figure.name].title}: {figure.value:.0f}{unit}")
    return "\n".join(lines)


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f}"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)

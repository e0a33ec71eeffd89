"""JUnit XML as CI systems read it: held by the rules of Ant's schema (windyroad/JUnit-Schema), written out here."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackbox.junit import render_junit
from rackbox.report import FailoverReport
from rackbox.verdict import RunVerdict, judge_all, judge_run
from tests.stories import full_story

ATTRIBUTES = {
    "testsuites": set(),
    "testsuite": {
        "id",
        "name",
        "package",
        "timestamp",
        "hostname",
        "tests",
        "failures",
        "errors",
        "time",
    },
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "system-out": set(),
    "system-err": set(),
}
CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"properties (testcase )*system-out system-err ",
    "properties": r"(property )*",
    "testcase": r"(failure |error )?",
}


def run_of(number: int, outage: float) -> RunVerdict:
    return judge_run(full_story(outage, number=number), f"20260101T120000-holder-powered-off-{number}")


PLAIN = run_of(1, 0.4)


def report_of(*runs: RunVerdict, **changes: object) -> FailoverReport:
    verdict = judge_all("holder-powered-off", runs)
    return FailoverReport("demo", "lxc", "20260101T120000", "/runs", (verdict,), **changes)  # type: ignore[arg-type]


def checked(text: str) -> ET.Element:
    """The document, once it has been held against the schema's rules."""
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ET.fromstring(text)
    for element in root.iter():
        assert set(element.keys()) == ATTRIBUTES[element.tag], element.tag
        children = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(CHILDREN.get(element.tag, ""), children), (element.tag, children)
    for number, suite in enumerate(root):
        assert suite.get("id") == str(number)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
        assert float(suite.get("time", "x")) >= 0
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors", "")) == len(suite.findall("testcase/error"))
        assert all(float(case.get("time", "x")) >= 0 for case in cases)
        assert len({case.get("name") for case in cases}) == len(cases)
    return root


def test_each_repeat_is_a_case() -> None:
    unknown = replace(run_of(3, 0.4), verdict="unknown", reasons=("nobody looked",))
    (suite,) = checked(render_junit(report_of(run_of(1, 0.4), run_of(2, 0.9), unknown)))
    held, over, error = suite.findall("testcase")
    assert list(held) == []
    assert "budget 700 ms" in str(over[0].get("message"))
    assert (over[0].tag, error[0].tag, error[0].get("message")) == ("failure", "error", "nobody looked")
    properties = {item.get("name"): item.get("value") for item in suite.iter("property")}
    assert properties["lab"] == "demo"
    assert properties["box"] == "20260101.1"
    assert float(str(properties["outage_ms.p95"])) == pytest.approx(960)  # the stalled requests after it count
    assert "takeover" in str(suite.findtext("system-out"))


def test_a_series_cut_short_is_red() -> None:
    root = checked(render_junit(report_of(run_of(1, 0.4), notes=("stopped before b 2/5: x",), cut_short=True)))
    assert [suite.get("errors") for suite in root] == ["0", "1"]


def test_nothing_at_all_is_well_formed() -> None:
    assert len(checked(render_junit(FailoverReport("l", "p", "g", "r", ())))) == 0


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40))
def test_any_reason_is_well_formed(reason: str) -> None:
    run = replace(PLAIN, verdict="unknown", reasons=(reason,), notes=(reason,))
    checked(render_junit(report_of(run)))

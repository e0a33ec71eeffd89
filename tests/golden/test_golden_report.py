"""The HTML report of a run written by hand, compared with the one in ``expected/``. Style and script are left out:
they are files of their own, and looked at in a browser (``tests/browser``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackbox.publish import load_sources
from rackbox.report import FailoverReport
from rackbox.report_html import render_page
from rackbox.trend import Point
from rackbox.verdict import judge_all, judge_run
from tests.stories import full_story

EXPECTED = Path(__file__).parent / "expected" / "report.html"


def golden_page() -> str:
    name = "20260101T120000-holder-powered-off-1"
    history = full_story(0.45, split=0.2)
    scenario = judge_all("holder-powered-off", [judge_run(history, name)])
    report = FailoverReport("demo", "lxc", "20260101T120000", "/runs", (scenario,), ("a <note> & more",))
    trend = [
        Point(f"2026010{day}T120000", "holder-powered-off", "pacemaker", f"b{day // 2}", 5, 400, 500, 510, 700, "held")
        for day in (1, 2, 3)
    ]
    sources = {**load_sources(), "report.css": "/* style */", "report.js": "// script"}
    return render_page(report, {name: history}, trend, sources)


def test_the_page_is_as_expected(request: pytest.FixtureRequest) -> None:
    page = golden_page()
    known = EXPECTED.read_text(encoding="utf-8") if EXPECTED.exists() else ""
    if request.config.getoption("--update-golden", default=False) and page != known:
        EXPECTED.write_text(page, encoding="utf-8")
        pytest.fail(f"{EXPECTED.name} rewritten: look at `git diff {EXPECTED}`, then run without --update-golden")
    assert page == known, "if the change is meant: pytest tests/golden --update-golden"

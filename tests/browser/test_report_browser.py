"""The HTML report in a real browser, headless: nothing is refused, nothing throws, and all that must be there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from rackbox.history import History
from rackbox.publish import load_sources
from rackbox.report import FailoverReport
from rackbox.report_html import render_page
from rackbox.trend import Point
from rackbox.verdict import ScenarioVerdict, judge_all, judge_run
from tests.stories import full_story

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SCENARIOS = ("holder-powered-off", "<script>alert(1)</script>")


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page: the DOM once its scripts had run, and what went to the console."""

    dom: str
    console: list[str]


def visit(page: str, directory: Path) -> Visit:
    browser = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    assert browser, "chromium is not installed: run `./lab test`, or see packaging/apt/test.txt"
    file = directory / "report.html"
    file.write_text(page, encoding="utf-8")
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    argv += [f"--user-data-dir={directory / 'profile'}", "--enable-logging=stderr", "--window-size=1280,1000"]
    argv += ["--virtual-time-budget=2000", "--dump-dom", file.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=150, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-2000:]
    return Visit(done.stdout, re.findall(r"CONSOLE.*", done.stderr))


def page_of(sources: dict[str, str]) -> str:
    histories: dict[str, History] = {}
    scenarios: list[ScenarioVerdict] = []
    for scenario in SCENARIOS:
        runs = []
        for number, (outage, split) in enumerate([(0.4, 0.0), (0.45, 0.3), (0.9, 0.0)], start=1):
            name = f"20260101T120000-{number}-{len(scenarios)}"
            histories[name] = full_story(outage, split, number, scenario=scenario)
            runs.append(judge_run(histories[name], name))
        scenarios.append(judge_all(scenario, runs))
    report = FailoverReport("demo", "lxc", "20260101T120000", "/runs", tuple(scenarios), ("a <b>note</b>",))
    trend = [Point(f"2026010{d}T120000", SCENARIOS[0], "pacemaker", "b", 5, 400, 500, 510, 700, "held") for d in (1, 2)]
    return render_page(report, histories, trend, sources)


def test_the_report_in_a_browser(tmp_path: Path) -> None:
    seen = visit(page_of(load_sources()), tmp_path)
    assert seen.console == []
    assert 'data-ready="yes"' in seen.dom  # the script ran to its end
    for text in ("holder-powered-off", "&lt;script&gt;alert(1)&lt;/script&gt;", "over budget", "held by lb1"):
        assert text in seen.dom, text
    assert "<b>note</b>" not in seen.dom
    assert seen.dom.count('<svg class="lanes"') == 12  # each of six runs: close up, and whole
    anchors = set(re.findall(r' id="([^"]+)"', seen.dom))
    links = set(re.findall(r' href="#([^"]+)"', seen.dom))
    assert links
    assert links <= anchors
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', seen.dom) == []


def test_what_the_page_does_not_allow_itself_is_told(tmp_path: Path) -> None:
    """Or an empty console would prove nothing."""
    page = page_of(load_sources()).replace('"use strict";', '"use strict"; void 0;')
    seen = visit(page, tmp_path)
    assert any("Content Security Policy" in line for line in seen.console)
    assert 'data-ready="yes"' not in seen.dom

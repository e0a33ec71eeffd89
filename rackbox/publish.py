"""Writes a failover test's reports to files: HTML, JUnit XML. The edge of ``report_html`` and ``junit``.

Entry points: ``write_page``, ``write_junit``.
"""

from __future__ import annotations

from pathlib import Path

from rackbox.errors import LabError
from rackbox.history import History
from rackbox.junit import render_junit
from rackbox.paths import PROJECT
from rackbox.recorder import load_history
from rackbox.report import FailoverReport
from rackbox.report_html import MAX_ALL_STORIES, MAX_STORIES, choose_stories, render_page
from rackbox.scenario import HISTORY
from rackbox.trend import read_trend

TEMPLATES = PROJECT / "rackbox" / "templates"
SOURCES = ("report.html.j2", "report.css", "report.js")


def write_page(report: FailoverReport, path: Path) -> None:
    """The whole report as one HTML page. Reads the histories of the runs that are told in full, and the trend."""
    runs = Path(report.runs)
    each = max(1, min(MAX_STORIES, MAX_ALL_STORIES // max(1, len(report.scenarios))))
    chosen = [run.run for scenario in report.scenarios for run in choose_stories(scenario, each)]
    histories: dict[str, History] = {}
    for name in chosen:
        try:
            histories[name] = load_history(runs / name / HISTORY)
        except FileNotFoundError:
            continue  # removed meanwhile: its row stays
    write_text(path, render_page(report, histories, read_trend(runs), load_sources()))


def write_junit(report: FailoverReport, path: Path) -> None:
    """The report for a CI system."""
    write_text(path, render_junit(report))


def load_sources() -> dict[str, str]:
    """The page's template, style and script."""
    return {name: (TEMPLATES / name).read_text(encoding="utf-8") for name in SOURCES}


def write_text(path: Path, text: str) -> None:
    """Whole or not at all: a reader, or a crash, never meets half a file."""
    partial = path.with_name(path.name + ".new")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}", "free some space there, or name another file") from error

"""The trend over stored series."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from rackbox.history import serialise_record
from rackbox.report import run_json
from rackbox.trend import Point, StoredRun, gather, read_trend, render_trend, trend_json
from rackbox.verdict import judge_run
from tests.stories import full_story


def store(runs: Path, group: str, number: int, outage: float, **header: object) -> None:
    name = f"{group}-holder-powered-off-{number}"
    history = full_story(outage, number=number, group=group, **header)  # type: ignore[arg-type]
    (runs / name).mkdir(parents=True)
    (runs / name / "history.jsonl").write_text("".join(map(serialise_record, history.records)))
    (runs / name / "verdict.json").write_text(json.dumps(run_json(judge_run(history, name))))


def test_each_series_is_a_point(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        store(tmp_path, "20260101T120000", number, 0.3 + 0.1 * number)
    store(tmp_path, "20260102T120000", 1, 0.9, facts={"box": "b2"})
    store(tmp_path, "20260102T120000", 2, 0.4, ha="keepalived")
    first, *second = read_trend(tmp_path)
    assert (first.group, first.runs, first.verdict) == ("20260101T120000", 3, "held")
    assert first.p50 is not None
    assert first.p95 is not None
    assert 450 < first.p50 < first.p95 < 700
    assert {point.setup for point in second} == {"pacemaker, third vote, fencing", "keepalived"}
    assert {point.box for point in second} == {"b2", "20260101.1"}


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    store(tmp_path, "20260101T120000", 1, 0.4)
    store(tmp_path, "broken-off-1-20260101T120000", 2, 0.4)
    for name, text in (("a", "{"), ("b", "[]"), ("c", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdict.json").write_text(text)
        (tmp_path / name / "history.jsonl").write_text("not json\n")
    (tmp_path / "20260103T000000-report.html").write_text("a page")
    assert [point.runs for point in read_trend(tmp_path)] == [1]
    assert read_trend(tmp_path / "nowhere") == ()


def test_a_run_without_a_figure_is_a_point_all_the_same() -> None:
    (point,) = gather([StoredRun("g", "s", "pacemaker", "", None, None, "unknown")])
    assert point == Point("g", "s", "pacemaker", "", 1, None, None, None, None, "unknown")
    assert trend_json([point])[0]["outage_ms"] == {"p50": None, "p95": None, "max": None}
    stream = io.StringIO()
    Console(file=stream, width=120).print(render_trend([point]))
    assert "unknown" in stream.getvalue()

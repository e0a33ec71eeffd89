"""`failover-test` as a command: what it prints, what it writes, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from rackbox.errors import LabError
from rackbox.failover import Outputs, command, list_command, trend_command
from rackbox.paths import PROJECT
from rackbox.scenarios import SCENARIOS
from rackbox.task import UsageError, out_file
from tests.fakes import FakeLab
from tests.unit.test_failover import play, run_dirs

CONFIG = PROJECT / "config" / "default.yaml"
JSON = Outputs(json=True)


@pytest.fixture
def lab(tmp_path: Path) -> FakeLab:
    return FakeLab(tmp_path)


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RACKBOX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_judging_prints_json_and_nothing_else(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.takeover = 3.0
    report = play(lab, "holder-powered-off")
    capsys.readouterr()
    assert command(CONFIG, [], 1, JSON, judged=str(lab.paths.runs / report.group)) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["verdict"] == "over budget"
    assert printed.err == ""


def test_judging_writes_all_that_is_asked_for(lab: FakeLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(lab, "haproxy-killed")
    capsys.readouterr()
    files = Outputs(out=tmp_path / "r.json", junit=tmp_path / "r.xml", html=tmp_path / "r.html")
    assert command(CONFIG, [], 1, files, judged=str(run_dirs(lab)[0])) == 0
    assert "verdict: held" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "held"
    assert ET.parse(tmp_path / "r.xml").getroot().tag == "testsuites"
    assert "haproxy-killed" in (tmp_path / "r.html").read_text()
    assert [path.name for path in tmp_path.glob("*.new")] == []


def test_a_report_that_cannot_be_written_is_told_before_anything_slow(tmp_path: Path) -> None:
    for flag in ("--junit", "--html"):
        with pytest.raises(UsageError, match=f"{flag} .*: cannot be written"):
            out_file(str(tmp_path / "nowhere" / "r.xml"), flag)


def test_a_run_may_be_named_without_its_path(no_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LabError, match="20000101T000000: no run is stored there"):
        command(CONFIG, [], 1, JSON, judged="20000101T000000")
    assert capsys.readouterr().out == ""


def test_listing_needs_no_lab_that_is_up(no_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_command(CONFIG, JSON) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)["scenarios"]} == set(SCENARIOS)


def test_the_trend_of_no_runs_is_empty(no_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trend_command(CONFIG, JSON) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "points": []}
    assert trend_command(CONFIG, Outputs()) == 0


def test_a_lab_that_is_not_up_cannot_be_broken(no_home: Path) -> None:
    with pytest.raises(LabError, match="scenario mars: not known"):
        command(CONFIG, ["mars"], 1, JSON)

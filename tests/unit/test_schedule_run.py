"""The scheduled job and its notifications, with a rebuild that only pretends."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rackbox.errors import LabBusy, LabError
from rackbox.image import RebuildResult
from rackbox.notify import notify
from rackbox.paths import Home
from rackbox.schedule_config import NotifyConfig, ScheduleConfig
from rackbox.schedule_run import LINES_KEPT, LOGS_KEPT, JobFiles, World, is_due, read_lines, run_job

CONFIG = ScheduleConfig().model_copy(update={"jitter": 0})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "data", tmp_path / "run")


def world(result: RebuildResult | Exception, **more: Any) -> World:
    def rebuild(home: Home, *_: Any, if_changed: bool, gate: bool) -> RebuildResult:
        assert if_changed
        assert gate
        if isinstance(result, Exception):
            raise result
        return result

    return World(rebuild=rebuild, free_mib=lambda path: 99999, prune=lambda *_: None, **more)


BUILT = RebuildResult(True, "2", True, ("curl 1 → 2",), Path("b.log"), {"haproxy-killed_ms": 260.0})


def last(home: Home) -> dict[str, Any]:
    return read_lines(JobFiles(home.data).runs)[-1]


@pytest.mark.parametrize(
    ("result", "code", "word"),
    [
        (BUILT, 0, "built"),
        (replace(BUILT, changed=False, figures={}), 0, "unchanged"),
        (replace(BUILT, promoted=False), 1, "refused"),
        (LabError("no network", "plug it in"), 1, "failed"),
        (ZeroDivisionError("a bug"), 1, "failed"),
    ],
)
def test_every_run_ends_as_one_line(home: Home, result: RebuildResult | Exception, code: int, word: str) -> None:
    assert run_job(home, CONFIG, due=False, jitter=False, world=world(result)) == code
    line = last(home)
    assert line["result"] == word
    assert Path(line["log"]).exists()
    if isinstance(result, Exception):
        assert str(result.args[0]) in line["message"]
        assert str(result.args[0]) in Path(line["log"]).read_text()


def test_figures_are_kept_by_version(home: Home) -> None:
    run_job(home, CONFIG, due=False, jitter=False, world=world(BUILT))
    run_job(home, CONFIG, due=False, jitter=False, world=world(replace(BUILT, changed=False, figures={})))
    (line,) = read_lines(home.data / "box-figures.jsonl")
    assert line["version"] == "2"
    assert line["figures"] == {"haproxy-killed_ms": 260.0}
    assert line.keys() == {"schema", "time", "os", "provider", "version", "figures"}


def test_a_full_disk_is_refused_before_anything_is_built(home: Home) -> None:
    full = replace(world(AssertionError()), free_mib=lambda path: 10)
    assert run_job(home, CONFIG, due=False, jitter=False, world=full) == 1
    assert "must have 6144 MiB free for a run; has 10 MiB" in last(home)["message"]


def test_old_boxes_go_before_and_after(home: Home) -> None:
    calls: list[int] = []
    pruning = replace(world(BUILT), prune=lambda home, config, console: calls.append(config.keep))
    run_job(home, CONFIG, due=False, jitter=False, world=pruning)
    assert calls == [3, 3]


def test_runs_do_not_overlap(home: Home) -> None:
    def rebuild(*_: Any, **__: Any) -> RebuildResult:
        with pytest.raises(LabBusy, match="under way"):
            run_job(home, CONFIG, due=False, jitter=False, world=world(AssertionError()))
        return BUILT

    assert run_job(home, CONFIG, due=False, jitter=False, world=replace(world(BUILT), rebuild=rebuild)) == 0
    assert len(read_lines(JobFiles(home.data).runs)) == 1


def test_a_run_that_does_not_end_is_ended(home: Home) -> None:
    def rebuild(*_: Any, **__: Any) -> RebuildResult:
        time.sleep(20)
        return BUILT

    short = CONFIG.model_copy(update={"limit": 100})
    assert run_job(home, short, due=False, jitter=False, world=replace(world(BUILT), rebuild=rebuild)) == 1
    assert "no end after 0.1 s" in last(home)["message"]


def test_logs_and_lines_are_bounded(home: Home) -> None:
    files = JobFiles(home.data)
    files.logs.mkdir(parents=True)
    for number in range(LOGS_KEPT + 5):
        (files.logs / f"20200101T0000{number:02}Z.log").touch()
    files.runs.write_text('{"result": "unchanged"}\n' * (LINES_KEPT + 5))
    run_job(home, CONFIG, due=False, jitter=False, world=world(BUILT))
    assert len(list(files.logs.iterdir())) == LOGS_KEPT
    assert len(read_lines(files.runs)) == LINES_KEPT
    assert last(home)["result"] == "built"


def test_cron_catches_up_what_was_missed(home: Home) -> None:
    files = JobFiles(home.data)
    files.root.mkdir(parents=True)
    daily = CONFIG.model_copy(update={"when": "30 3 * * *"})
    now = datetime(2026, 11, 21, 12, 0).astimezone(UTC)
    assert is_due(files, daily, now), "never ran"
    for hours, due in ((1, False), (8, False), (9, True), (48, True)):
        files.stamp.touch()
        moment = (now - timedelta(hours=hours)).timestamp()
        os.utime(files.stamp, (moment, moment))
        assert is_due(files, daily, now) is due, hours


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": 2')
    assert read_lines(path) == [{"a": 1}]


# --- notifications

REPORT = {"result": "built", "version": "2"}


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (("sh", "-c", "cat >$0; true", "OUT"), "ok"),
        (("sh", "-c", "echo broken >&2; exit 4"), "sh: exit 4: broken"),
        (("rackbox-no-such-program",), "rackbox-no-such-program: not found"),
        (("/",), "[Errno 13] Permission denied: '/'"),
    ],
)
def test_a_command_gets_the_report(tmp_path: Path, command: tuple[str, ...], answer: str) -> None:
    words = tuple(str(tmp_path / "OUT") if word == "OUT" else word for word in command)
    said: list[str] = []
    assert notify(NotifyConfig().model_copy(update={"command": words}), REPORT, said.append) == {"command": answer}
    assert said == [f"notification by command: {answer}"]
    if answer == "ok":
        assert json.loads((tmp_path / "OUT").read_text()) == REPORT


class _Server(BaseHTTPRequestHandler):
    answers: ClassVar[list[int]] = []
    bodies: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).bodies.append(json.loads(body))
        self.send_response(type(self).answers.pop(0))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Server.answers, _Server.bodies = [], []
    with HTTPServer(("127.0.0.1", 0), _Server) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/SECRET"
        listening.shutdown()
        thread.join()


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("answers", "answer", "pauses"),
    [
        ([200], "ok", []),
        ([503, 204], "ok", [2.0]),
        ([500, 502, 503], "HTTP 503, after 3 of 3 tries", [2.0, 4.0]),
        ([404], "HTTP 404, after 1 of 3 tries", []),
        ([302], "HTTP 302, after 1 of 3 tries", []),
    ],
)
def test_a_webhook_is_tried_again(server: str, answers: list[int], answer: str, pauses: list[float]) -> None:
    _Server.answers = list(answers)
    waited: list[float] = []
    assert notify(NotifyConfig(webhook=server), REPORT, lambda text: None, waited.append) == {"webhook": answer}
    assert waited == pauses
    assert _Server.bodies[0] == REPORT


@pytest.mark.loopback
def test_a_webhook_that_nobody_answers_is_told_without_its_address(home: Home) -> None:
    deaf = CONFIG.model_copy(update={"notify": NotifyConfig(webhook="http://127.0.0.1:9/SECRET", retries=0)})
    assert run_job(home, deaf, due=False, jitter=False, world=world(BUILT)) == 0, "a notification fails no run"
    line = last(home)
    assert line["notified"] == {"webhook": "ConnectionError, after 1 of 1 tries"}
    assert "SECRET" not in json.dumps(line) + Path(line["log"]).read_text()


@pytest.mark.parametrize(
    ("on", "told"),
    [("always", {"built", "unchanged", "refused", "failed"}), ("change", {"built", "refused", "failed"}),
     ("failure", {"refused", "failed"})],
)  # fmt: skip
def test_who_is_told_when(on: str, told: set[str]) -> None:
    from rackbox.notify import is_wanted

    results = ("built", "unchanged", "refused", "failed")
    assert {word for word in results if is_wanted(NotifyConfig(on=on), {"result": word})} == told

"""Following a machine's progress log, through a pipe that stands for the SSH connection."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import pytest

from rackbox import follow
from rackbox.errors import LabError, MachineError, WaitTimeout
from rackbox.lab import LiveLab
from rackbox.progress import DONE, FAILED, MachineBoard
from tests.rendering import shipped

NODE = shipped("small").node("lb1")


def event(kind: str, hook: str = "", seconds: float = 0.0, tail: Sequence[str] = ()) -> bytes:
    found = {"t": 1.0, "event": kind, "hook": hook, "seconds": seconds, "tail": list(tail)}
    return json.dumps(found).encode() + b"\n"


class Stream:
    """A process whose output is in a pipe. ``keep_open``: the log goes on, with nothing more to read."""

    pid = 1 << 30  # nobody

    def __init__(self, data: bytes, keep_open: bool = False) -> None:
        reader, self.writer = os.pipe()
        os.write(self.writer, data)
        self.stdout: IO[str] = os.fdopen(reader)
        if not keep_open:
            os.close(self.writer)

    def wait(self) -> int:
        return 0


class Connections:
    """``answers``: for each try, a stream, or None for a machine that does not answer."""

    def __init__(self, answers: Sequence[Stream | None]) -> None:
        self.answers = list(answers)
        self.closed = 0

    def open(self, name: str) -> bool:
        assert name == NODE.name
        if not self.answers:
            return False
        if self.answers[0] is None:
            del self.answers[0]
            return False
        return True

    def follow(self, name: str, command: Sequence[str]) -> Stream:
        assert follow.PROGRESS in command
        stream = self.answers.pop(0)
        assert stream is not None
        return stream

    def close(self, name: str) -> None:
        self.closed += 1


class Board:
    def __init__(self) -> None:
        self.updates: list[tuple[str, str, str]] = []

    def update(self, name: str, state: str, text: str) -> None:
        self.updates.append((name, state, text))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RETRY_S", 0.005)


def run(
    *answers: Stream | None, timeout: float = 5.0, stop: threading.Event | None = None, runs: bool = True
) -> tuple[Board, Connections]:
    board, connections = Board(), Connections(answers)
    provider = SimpleNamespace(console_tail=lambda node, paths, lines: ["last words on the console"])
    machine = SimpleNamespace(is_running=lambda: runs)
    lab: Any = SimpleNamespace(
        connections=connections, provider=provider, paths=None, machine=lambda name: machine, file=Path("x.yaml")
    )
    try:
        follow.follow_provisioning(
            cast(LiveLab, lab), NODE, cast(MachineBoard, board), stop or threading.Event(), timeout
        )
    except LabError as error:
        error.add_note(str(board.updates))
        raise
    return board, connections


def test_done_is_the_end() -> None:
    board, _ = run(Stream(event("start", "common/10-x.sh") + event("ok", "common/10-x.sh") + event("done", "", 2.5)))
    assert board.updates == [
        ("lb1", "running", "common/10-x.sh"),
        ("lb1", DONE, "provisioned itself in 2.5 s"),
    ]


def test_a_machine_that_answers_late() -> None:
    board, _ = run(None, None, Stream(event("done")))
    assert board.updates[-1][1] == DONE


def test_a_connection_that_breaks_is_made_again() -> None:
    board, connections = run(Stream(event("start", "lb/20-y.sh")), None, Stream(event("done")))
    assert connections.closed == 1
    assert board.updates[-1][1] == DONE


def test_a_failure_names_machine_hook_and_its_last_lines() -> None:
    failed = event("fail", "lb/20-y.sh", tail=["one"]) + event("failed", "lb/20-y.sh", tail=["pcs: no", "exit 1"])
    with pytest.raises(MachineError) as info:
        run(Stream(failed, keep_open=True))
    assert info.value.message == "lb1: hook lb/20-y.sh failed\n  | pcs: no\n  | exit 1"
    assert "./lab ssh lb1" in info.value.hint


def test_a_hook_that_said_nothing_is_told_with_the_console() -> None:
    with pytest.raises(MachineError, match="last words on the console"):
        run(Stream(event("failed", "lb/20-y.sh")))


@pytest.mark.parametrize("rubbish", [b"\n", b"{\n", b"tail: file truncated\n", b"\xff\xfe\n"])
def test_lines_that_are_no_events_are_passed_over(rubbish: bytes) -> None:
    board, _ = run(Stream(rubbish + event("done")))
    assert board.updates[-1][1] == DONE


def test_an_event_may_come_in_pieces() -> None:
    whole = event("done")
    stream = Stream(whole[:7], keep_open=True)

    def rest() -> None:
        time.sleep(0.05)
        os.write(stream.writer, whole[7:])

    writer = threading.Thread(target=rest)
    writer.start()
    board, _ = run(stream)
    writer.join()
    assert board.updates[-1][1] == DONE


def test_the_deadline_is_told_with_what_was_last_seen() -> None:
    with pytest.raises(WaitTimeout, match=r"lb1: not provisioned within 0\.3 s; last seen: .*start common/10-x\.sh"):
        run(Stream(event("start", "common/10-x.sh"), keep_open=True), timeout=0.3)


def test_a_machine_that_stops_is_told_at_once() -> None:
    expected = r"(?s)^lb1: stopped .*connection lost after: start common/10-x.sh.*last words on the console"
    with pytest.raises(MachineError, match=expected):
        run(Stream(event("start", "common/10-x.sh")), runs=False, timeout=30)


def test_a_machine_that_never_answers() -> None:
    with pytest.raises(WaitTimeout, match="last seen: no answer by SSH yet") as info:
        run(timeout=0.05)
    assert FAILED in str(info.value.__notes__)


def test_stop_ends_it_without_a_word() -> None:
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    board, _ = run(Stream(b"", keep_open=True), stop=stop)
    assert board.updates == []

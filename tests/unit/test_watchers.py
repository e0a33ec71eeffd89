"""The address watchers: the script with a real bash and a fake ``ip``, and the watcher with machines that only talk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rackbox.errors import LabError
from rackbox.history import Record
from rackbox.probes.process import ModuleProcess
from rackbox.recorder import load_history
from rackbox.watchers import start_watchers
from rackbox.watchers.addresses import GUEST_SCRIPT, Word, parse_word
from tests.fakes import FakeLab
from tests.probing import wait_until

VIP = "192.168.4.20"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("1795295467.735418 start true\n", Word("start", True, 1795295467.735418)),
        ("1795295467.7 change false\n", Word("change", False, 1795295467.7)),
        ("1795295467.7 beat false\n", Word("beat", False, 1795295467.7)),
        ("Warning: something else\n", None),
        ("x change true", None),
        ("1.0 change maybe", None),
        ("", None),
    ],
)
def test_what_a_line_means(line: str, word: Word | None) -> None:
    assert parse_word(line) == word


def test_a_lab_without_balancers_has_nothing_to_watch(tmp_path: Path) -> None:
    lab = FakeLab(tmp_path)
    lab.topology = replace(lab.topology, load_balancer=None)
    with pytest.raises(LabError, match="no load balancers"):
        start_watchers(lab, tmp_path / "h", tmp_path)


@pytest.mark.subprocess
def test_the_script_says_start_changes_and_beats(tmp_path: Path) -> None:
    """``ip`` is a double: it holds the address if a file says so, and its monitor repeats what is put into a pipe."""
    (tmp_path / "ip").write_text(
        f"""#!/bin/sh
case "$*" in
  *monitor*) cat {tmp_path}/pipe ;;
  *"{VIP}/32"*) cat {tmp_path}/held ;;
esac
"""
    )
    (tmp_path / "ip").chmod(0o755)
    (tmp_path / "held").write_text(f"2: dmz inet {VIP}/24 scope global\n")
    os.mkfifo(tmp_path / "pipe")
    path = f"{tmp_path}:{os.environ['PATH']}"
    script = subprocess.Popen(
        ["bash", "-c", GUEST_SCRIPT, "watch-address", VIP],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert script.stdout is not None
    words: list[tuple[str, bool]] = []

    def listen(count: int) -> None:
        for _ in range(count):
            word = parse_word(script.stdout.readline())  # type: ignore[union-attr]
            assert word is not None
            assert abs(word.wall_guest - time.time()) < 5
            words.append((word.kind, word.held))

    with (tmp_path / "pipe").open("w") as monitor:
        listen(2)
        assert words == [("start", True), ("beat", True)], "a line a second, though nothing happens"
        words.clear()
        for line in (
            f"Deleted 2: dmz    inet {VIP}/24 scope global secondary dmz",
            f"2: dmz    inet {VIP}/24 scope global secondary dmz",
            "2: dmz    inet 192.168.4.21/24 scope global dmz",
            "2: dmz    inet 192.168.4.200/24 scope global dmz",
        ):
            monitor.write(line + "\n")
            monitor.flush()
        listen(4)
        assert words == [("change", False), ("change", True), ("beat", True), ("beat", True)]
    assert script.wait(5) == 1, "without its monitor it ends, and the watcher connects again"
    script.stdout.close()
    assert script.stderr is not None
    script.stderr.close()


class Talk:
    """A watchers' process whose machine is a shell script."""

    def __init__(self, directory: Path, script: str) -> None:
        self._history = directory / "history.jsonl"
        machines = json.dumps({"lb1": ["bash", "-c", script]})
        argv = [sys.executable, "-m", "rackbox.watchers.runner", str(self._history), "30", machines]
        self.process = ModuleProcess("watchers", argv, directory / "log", 5.0)

    def records(self) -> list[Record]:
        return list(load_history(self._history).records) if self._history.exists() else []

    def words(self) -> list[str]:
        return [
            str(record.fields["held"]) if record.event == "address" else record.text("reason")
            for record in self.records()
        ]


SAY = "say() { echo $EPOCHREALTIME $1 $2; }\n"


@pytest.mark.subprocess
def test_only_changes_are_written_and_stamped_here(tmp_path: Path) -> None:
    talk = Talk(tmp_path, SAY + "say start false; say beat false; say change true; say change true; sleep 60")
    before = time.monotonic()
    wait_until(lambda: talk.words() == ["False", "True"])
    talk.process.wait_for_end()
    assert "ended with 0" in talk.process.ended()
    for record in talk.records():
        assert record.source == "watch:lb1"
        assert before <= record.t <= time.monotonic()
        assert record.number("wall_guest") == pytest.approx(record.wall, abs=2)


@pytest.mark.subprocess
def test_silence_is_not_release(tmp_path: Path) -> None:
    talk = Talk(tmp_path, SAY + "say start true; sleep 4; say beat true; sleep 60")
    wait_until(lambda: len(talk.words()) == 3, timeout=20)
    talk.process.wait_for_end()
    assert talk.words() == ["True", "silent for 2.5 s", "True"], "it was there all the time, and is said to be again"


@pytest.mark.subprocess
def test_a_machine_that_was_rebooted_is_watched_again(tmp_path: Path) -> None:
    mark = tmp_path / "second"
    talk = Talk(tmp_path, SAY + f"if [ -e {mark} ]; then say start false; sleep 60; fi; touch {mark}; say start true")
    wait_until(lambda: len(talk.words()) == 3, timeout=20)
    talk.process.wait_for_end()
    assert talk.words() == ["True", "the connection ended (0)", "False"]


@pytest.mark.subprocess
def test_watchers_do_not_outlive_who_started_them(tmp_path: Path) -> None:
    talk = Talk(tmp_path, SAY + "say start true; exec sleep 60")
    wait_until(lambda: talk.words() == ["True"])
    children = Path(f"/proc/{talk.process.pid}/task/{talk.process.pid}/children").read_text().split()
    assert len(children) == 1
    talk.process.ask_to_end()
    wait_until(lambda: bool(talk.process.ended()))
    wait_until(lambda: not Path(f"/proc/{children[0]}").exists())

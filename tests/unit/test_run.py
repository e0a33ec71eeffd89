"""``rackbox.run``: what programs do to it (real runs), and what it must never do itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rackbox.errors import EXIT_COULD_NOT_RUN, EXIT_FAILED, CommandFailed, MissingTool
from rackbox.run import Result, describe, run

pytestmark = pytest.mark.subprocess

ENDS = [
    (["true"], 0, "", ""),
    (["sh", "-c", "exit 7"], 7, "", ""),
    (["sh", "-c", "echo out; echo err >&2"], 0, "out\n", "err\n"),
    (["sh", "-c", "kill -TERM $$"], -15, "", ""),
    (["printf", "%s|", "a b", "$HOME", "*", "'"], 0, "a b|$HOME|*|'|", ""),
    (["sh", "-c", r"printf '\377'"], 0, "\ufffd", ""),
]

FAILURES = [
    (["sh", "-c", "exit 3"], "sh -c 'exit 3': exit 3"),
    (["sh", "-c", "kill -KILL $$"], "killed by SIGKILL"),
    (["sh", "-c", "echo first; echo why >&2; exit 1"], "  | first\n  | why"),
    (["ls", "no such file here"], "ls 'no such file here': exit 2"),
]


@pytest.mark.parametrize(("argv", "code", "out", "err"), ENDS, ids=lambda value: str(value)[:30])
def test_tells_how_a_program_ended(argv: list[str], code: int, out: str, err: str) -> None:
    result = run(argv, timeout=10, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (code, out, err)
    assert result.ok == (code == 0)


@pytest.mark.parametrize(("argv", "words"), FAILURES, ids=lambda value: str(value)[:30])
def test_a_failure_can_be_pasted_and_shows_its_last_words(argv: list[str], words: str) -> None:
    with pytest.raises(CommandFailed) as info:
        run(argv, timeout=10)
    assert words in info.value.message
    assert info.value.exit_code == EXIT_FAILED


def test_only_the_last_lines_are_shown() -> None:
    with pytest.raises(CommandFailed) as info:
        run(["sh", "-c", "seq 100; exit 1"], timeout=10)
    assert "| 100" in info.value.message
    assert "| 85\n" not in info.value.message


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(MissingTool, match="no-such-program-here: not found") as info:
        run(["no-such-program-here"], timeout=10, check=False)
    assert info.value.exit_code == EXIT_COULD_NOT_RUN
    assert "doctor" in info.value.hint


def test_standard_input_is_closed() -> None:
    assert run(["cat"], timeout=10).stdout == ""


def test_input_is_given() -> None:
    assert run(["cat"], timeout=10, input="a\nb").stdout == "a\nb"


def test_the_time_limit_kills_and_keeps_what_was_said() -> None:
    started = time.monotonic()
    with pytest.raises(CommandFailed) as info:
        run(["sh", "-c", "echo begun; exec sleep 60"], timeout=0.3, check=False)
    assert time.monotonic() - started < 5
    assert "no end after 0.3 s, killed" in info.value.message
    assert "| begun" in info.value.message


def test_what_a_program_has_started_ends_with_it(tmp_path: Path) -> None:
    """Packer's script is the grandchild that works on: ended, and given time to clean up."""
    script = f"trap 'sleep 0.1; touch {tmp_path}/cleaned; exit' TERM; sleep 60 & echo $!; wait"
    with pytest.raises(CommandFailed) as info:
        run(["sh", "-c", f"sh -c '{script.replace(chr(39), chr(34))}'; true"], timeout=0.3)
    pid = info.value.message.rsplit("| ", 1)[1].split()[0]
    assert (tmp_path / "cleaned").exists()
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    raise AssertionError(f"{pid} lives")


def test_environment_and_directory(tmp_path: Path) -> None:
    result = run(["sh", "-c", "pwd; echo $ONLY; echo ${HOME-none}"], timeout=10, cwd=tmp_path, env={"ONLY": "this"})
    assert result.stdout.splitlines() == [str(tmp_path), "this", "none"]


def test_the_log_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "run.log"
    run(["echo", "one"], timeout=10, log=log)
    with pytest.raises(CommandFailed, match=f"full log: {log}"):
        run(["sh", "-c", "echo two; exit 4"], timeout=10, log=log)
    text = log.read_text()
    assert text.index("$ echo one\none\n[exit 0 after") < text.index("two\n[exit 4 after")


def test_secrets_reach_neither_message_nor_log(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with pytest.raises(CommandFailed) as info:
        run(["sh", "-c", "echo hunter22; exit 1", "hunter22"], timeout=10, log=log, mask=["hunter22", ""])
    assert "hunter22" not in info.value.message + log.read_text()
    assert "********" in info.value.message


def test_a_shell_never_sees_the_arguments(tmp_path: Path) -> None:
    run(["echo", f"; touch {tmp_path}/owned", f"$(touch {tmp_path}/owned)"], timeout=10)
    assert os.listdir(tmp_path) == []


def test_describe_names_the_signal() -> None:
    assert describe(Result(("sleep", "1"), -11, "", "", 0.0)) == "sleep 1: killed by SIGSEGV"

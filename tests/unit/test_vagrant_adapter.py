"""What Vagrant is called with, where, and what comes of its ends. No Vagrant runs here."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rackbox import vagrant_adapter
from rackbox.errors import EXIT_FAILED, CommandFailed, MissingTool
from rackbox.vagrant_adapter import OTHER_TIMEOUT, UP_TIMEOUT, VagrantAdapter


class FakeProcess:
    """Stands for ``subprocess.Popen``; ends as the test says."""

    calls: list[dict[str, Any]]
    ends: Any = 0
    says = b""
    pid = 4711

    def __init__(self, argv: Sequence[str], **options: Any) -> None:
        type(self).calls.append({"argv": list(argv), **options})
        if isinstance(self.ends, FileNotFoundError):
            raise self.ends
        options["stdout"].write(self.says)
        options["stdout"].flush()

    def wait(self, timeout: float | None = None) -> int:
        type(self).calls[-1].setdefault("waits", []).append(timeout)
        if isinstance(self.ends, BaseException):
            end, type(self).ends = self.ends, -9
            raise end
        assert isinstance(self.ends, int)
        return self.ends


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[FakeProcess]:
    class Process(FakeProcess):
        calls: list[dict[str, Any]] = []  # noqa: RUF012

    monkeypatch.setattr(subprocess, "Popen", Process)
    return Process


@pytest.fixture
def adapter(tmp_path: Path) -> VagrantAdapter:
    return VagrantAdapter(
        tmp_path / "rendered",
        vagrant_home=tmp_path / "vagrant",
        provider="lxc",
        log=tmp_path / "logs" / "vagrant.log",
        wrap=lambda argv: ["inside", *argv],
    )


CALLS = [
    (
        lambda vagrant: vagrant.up(["lb1", "lb2"]),
        ["up", "/^(lb1|lb2)$/", "--no-provision", "--provider=lxc"],
        UP_TIMEOUT,
    ),
    (lambda vagrant: vagrant.destroy(["gateway"]), ["destroy", "/^(gateway)$/", "--force"], OTHER_TIMEOUT),
    (lambda vagrant: vagrant.validate(), ["validate"], OTHER_TIMEOUT),
    (
        lambda vagrant: vagrant.add_box("rackbox/debian-13", Path("/b o/metadata.json"), "1.2"),
        [
            *("box", "add", "rackbox/debian-13", "file:///b%20o/metadata.json"),
            *("--force", "--provider", "lxc", "--box-version", "1.2"),
        ],
        UP_TIMEOUT,
    ),
]


@pytest.mark.parametrize(("call", "argv", "limit"), CALLS, ids=[argv[0] for _, argv, _ in CALLS])
def test_the_argv_and_the_time_limit_of_each_call(
    process: type[FakeProcess], adapter: VagrantAdapter, call: Any, argv: list[str], limit: float
) -> None:
    call(adapter)
    (made,) = process.calls
    assert made["argv"] == ["inside", "vagrant", *argv]
    assert made["waits"] == [limit]
    assert made["stdin"] == subprocess.DEVNULL
    assert made["start_new_session"] is True


def test_its_environment_is_bare_and_ours(
    process: type[FakeProcess], adapter: VagrantAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "virtualbox")
    adapter.validate()
    env = process.calls[0]["env"]
    assert env["VAGRANT_HOME"] == str(tmp_path / "vagrant")
    assert env["VAGRANT_DOTFILE_PATH"] == str(tmp_path / "rendered" / ".vagrant")
    assert env["VAGRANT_CHECKPOINT_DISABLE"] == "1"
    assert "VAGRANT_DEFAULT_PROVIDER" not in env


def test_files_made_for_machines_are_readable_whatever_the_user_s_umask(
    process: type[FakeProcess], adapter: VagrantAdapter
) -> None:
    """A machine's root directory is made by Vagrant's child: with 077, nobody but root could work in the machine."""
    adapter.validate()
    assert process.calls[0]["umask"] == 0o022


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (["lb1"], ["lb10", "lb", "xlb1"]),
        (["master1", "master2"], ["master", "master12", "master1|master2"]),
        (["a.b"], ["axb"]),
        (["a-b"], ["a", "b", "a-bc"]),
    ],
)
def test_the_pattern_matches_just_these_names(
    process: type[FakeProcess], adapter: VagrantAdapter, names: list[str], others: list[str]
) -> None:
    adapter.up(names)
    pattern = process.calls[0]["argv"][3]
    assert (pattern[0], pattern[-1]) == ("/", "/"), "Vagrant takes a name between slashes for a pattern"
    for name in names:
        assert re.search(pattern[1:-1], name)
    for name in others:
        assert not re.search(pattern[1:-1], name)


def test_a_bad_end_shows_command_code_last_lines_and_log(
    process: type[FakeProcess], adapter: VagrantAdapter, tmp_path: Path
) -> None:
    process.ends, process.says = 1, b"".join(b"line %d\n" % number for number in range(40))
    (tmp_path / "logs" / "vagrant.log").write_text("of an earlier call\n")
    with pytest.raises(CommandFailed) as info:
        adapter.up(["lb1"])
    message = info.value.message
    assert "inside vagrant up" in message
    assert "exit 1" in message
    assert "| line 39" in message
    assert "earlier" not in message
    assert str(tmp_path / "logs" / "vagrant.log") in message
    assert info.value.exit_code == EXIT_FAILED


def test_the_message_of_an_exception_is_told_and_not_its_stack(
    process: type[FakeProcess], adapter: VagrantAdapter
) -> None:
    stack = b"".join(b"\t%d: from /gems/vagrant/action/runner.rb:%d:in `run'\n" % (n, n) for n in range(40))
    process.says, process.ends = b"lxc-start: no such bridge (LxcError)\n" + stack, 1
    with pytest.raises(CommandFailed) as caught:
        adapter.up(["lb1"])
    assert "no such bridge" in str(caught.value)
    assert "runner.rb" not in str(caught.value)


def test_vagrant_that_is_not_there(process: type[FakeProcess], adapter: VagrantAdapter) -> None:
    process.ends = FileNotFoundError()
    with pytest.raises(MissingTool, match="inside: not found"):
        adapter.validate()


@pytest.mark.parametrize("end", [KeyboardInterrupt(), subprocess.TimeoutExpired("vagrant", 1)])
def test_an_interrupt_or_the_time_limit_ends_vagrant_and_its_children(
    process: type[FakeProcess], adapter: VagrantAdapter, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr("os.killpg", lambda pid, number: killed.append((pid, number)))
    process.ends = end
    with pytest.raises((KeyboardInterrupt, CommandFailed)) as info:
        adapter.up(["lb1"])
    assert killed == [(4711, signal.SIGINT)], "as Ctrl-C would: Vagrant releases its locks"
    if isinstance(info.value, CommandFailed):
        assert f"no end after {UP_TIMEOUT:g} s" in info.value.message


@pytest.mark.parametrize(("command", "ended"), [("ruby\0/usr/bin/vagrant\0up\0", True), ("vim\0notes\0", False)])
def test_a_vagrant_whose_caller_was_killed_is_ended_before_the_next(
    process: type[FakeProcess],
    adapter: VagrantAdapter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    ended: bool,
) -> None:
    """It works on in a session of its own, and holds the locks; another process with its pid is left alone."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr("os.killpg", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(vagrant_adapter, "PROC", tmp_path / "proc")
    (tmp_path / "proc" / "815").mkdir(parents=True)
    (tmp_path / "proc" / "815" / "cmdline").write_text(command)
    pid_file = tmp_path / "rendered" / "vagrant.pid"
    pid_file.write_text("815")
    adapter.validate()
    assert killed == ([(815, signal.SIGKILL)] if ended else [])
    assert not pid_file.exists()


def test_stop_with_nothing_under_way_does_nothing(adapter: VagrantAdapter) -> None:
    adapter.stop()


def test_an_installed_box_is_seen_on_disk(adapter: VagrantAdapter, tmp_path: Path) -> None:
    assert not adapter.has_box("rackbox/debian-13", "1")
    installed = tmp_path / "vagrant/boxes/rackbox-VAGRANTSLASH-debian-13/1/lxc"
    installed.mkdir(parents=True)
    assert not adapter.has_box("rackbox/debian-13", "1"), "not whole"
    (installed / "metadata.json").touch()
    assert adapter.has_box("rackbox/debian-13", "1")
    assert not adapter.has_box("rackbox/debian-13", "2")

"""The command line's contract: exit codes, refusals, what passes through. No task really acts here."""

from __future__ import annotations

import errno
import importlib
import inspect
import re
import runpy
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import Task

import tasks
from rackbox.errors import CommandFailed, ConfigError, LabError, MissingTool, Problem
from rackbox.failover import Outputs
from rackbox.paths import PROJECT
from rackbox.program import RackboxProgram
from rackbox.task import (
    UsageError,
    after_double_dash,
    before_double_dash,
    check_core_options,
    command,
    lab_file,
    run_command,
)

USAGE_ERRORS = [
    (["nonsense"], "no such task: nonsense", "./lab` alone lists the tasks"),
    (["schedule"], "schedule: which of its tasks?", "schedule.install, schedule.remove, schedule.run, schedule.status"),
    (["schedule.instal"], "no such task: schedule.instal", "did you mean schedule.install"),
    (["image.roll"], "no such task: image.roll", "image.rollback"),
    (["image.diff", "0123"], "image.diff: missing: NEW", "./lab image.diff --help"),
    (["up", "--renew", "--machine"], "up: --machine wants a value", "./lab up --help"),
    (["failover-test", "--scenario"], "failover-test: --scenario wants a value", "./lab failover-test --help"),
    (["failovertest"], "no such task: failovertest", "did you mean failover-test"),
    (["statu"], "no such task: statu", "did you mean status?"),
    (["status", "extra"], "status: takes no 'extra'", "status --help"),
    (["--lab", "x.yaml", "plan"], "--lab stands after the task", "./lab TASK --lab"),
    (["status", "--jsn"], "status: no such option: --jsn", "did you mean --json?"),
    (["status", "--xyzzy"], "status: no such option: --xyzzy", "./lab status --help"),
    (["status", "--lab"], "status: --lab wants a value", "./lab status --help"),
    (["ssh"], "ssh: missing: NODE", "./lab ssh --help"),
    (["ssh", "lb2", "down"], "one task at a time; got ssh, down", "behind --"),
    (["plan", "status"], "one task at a time; got plan, status", "behind --"),
    (["failover-test", "--repeat", "often"], "--repeat must be a whole number; got 'often'", "--help"),
    (["image.prune", "--keep=two"], "--keep must be a whole number; got 'two'", "--help"),
    (["--help", "nonsense"], "no such task: nonsense", ""),
    (["--nonsense"], "no such option: --nonsense", ""),
    (["--config", "x.yaml", "down"], "--config is Invoke's own option", "--lab FILE"),
    (["--config=x.yaml", "down"], "--config is Invoke's own option", "--lab FILE"),
    (["-f", "x.yaml", "down"], "--config is Invoke's own option", "--lab FILE"),
    (["-fx.yaml", "down"], "--config is Invoke's own option", "--lab FILE"),
    (["-ef", "x.yaml", "down"], "--config is Invoke's own option", "--lab FILE"),
    (["down", "--config", "x.yaml"], "--config is Invoke's own option", "--lab FILE"),
    (["down", "-f", "x.yaml"], "--config is Invoke's own option", "--lab FILE"),
    (["--dry", "down"], "--dry is Invoke's own option", "plan"),
    (["down", "-R"], "--dry is Invoke's own option", "plan"),
]


def run_program(monkeypatch: pytest.MonkeyPatch, argv: Sequence[str], namespace: Collection = tasks.namespace) -> int:
    """The exit code of ``./lab argv…``."""
    monkeypatch.setattr(sys, "argv", ["lab", *argv])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        RackboxProgram(namespace).run()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    finally:
        signal.signal(signal.SIGTERM, handler)
    return 0


class Stand:
    """In a module's place: every function called on it is kept, by name. What is no function stays the module's own."""

    def __init__(self, module: str, code: int) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.code = code
        self._module = importlib.import_module(module)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._module, name)
        assert real.__module__ == self._module.__name__, f"{name} is not the module's own"
        if isinstance(real, type):
            return real

        def record(*args: Any, **named: Any) -> int:
            inspect.signature(real).bind(*args, **named)
            self.calls.append((name, (*args, named) if named else args))
            return self.code

        return record


def stub(monkeypatch: pytest.MonkeyPatch, module: str, code: int = 0) -> Stand:
    """Have ``rackbox.<module>`` only say what it was asked, and give ``code`` back."""
    import rackbox

    stand = Stand(f"rackbox.{module}", code)
    monkeypatch.setitem(sys.modules, f"rackbox.{module}", stand)
    monkeypatch.setattr(rackbox, module, stand)
    return stand


@pytest.mark.parametrize(("argv", "message", "hint"), USAGE_ERRORS, ids=lambda value: str(value)[:40])
def test_usage_errors_exit_3_and_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str], message: str, hint: str
) -> None:
    down = stub(monkeypatch, "down")
    assert run_program(monkeypatch, argv) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert hint in said.err
    assert "Traceback" not in said.err
    assert down.calls == []


DEFAULTS = {"image.build", "bundle.build"}
"""Tasks that are listed by their collection's name alone."""


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_names_every_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert run_program(monkeypatch, argv) == 0
    text = capsys.readouterr().out
    listed = re.findall(r"^  ([a-z][a-z.-]*)  +[A-Z]", text, re.MULTILINE)
    assert sorted(listed) == sorted(tasks.namespace.task_names.keys() - DEFAULTS | {"image", "bundle"})


@pytest.mark.parametrize("argv", [["schedule", "--help"], ["--help", "schedule"]])
def test_help_of_tasks_that_have_no_common_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert run_program(monkeypatch, argv) == 0
    text = capsys.readouterr().out
    assert "Usage: ./lab schedule.TASK" in text
    listed = re.findall(r"^  (\S+)  +[A-Z]", text, re.MULTILINE)
    assert listed == ["schedule.install", "schedule.remove", "schedule.run", "schedule.status"]


@pytest.mark.parametrize("argv", [["ssh", "--help"], ["ssh", "-h"], ["--help", "ssh"], ["ssh", "lb1", "--help"]])
def test_help_of_a_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert run_program(monkeypatch, argv) == 0
    assert "Usage: ./lab ssh NODE" in capsys.readouterr().out


def fresh_task(monkeypatch: pytest.MonkeyPatch, name: str) -> Task[Any]:
    """Of a fresh copy of all parts: Invoke takes the help texts out of a task when it is asked for its arguments."""
    for part in [part for part in sys.modules if re.fullmatch(r"rackbox\.\w+_tasks", part)]:
        monkeypatch.delitem(sys.modules, part)
        monkeypatch.delattr(part)
    made: Task[Any] = runpy.run_path(str(PROJECT / "tasks.py"))["namespace"][name]
    return made


def test_help_tells_what_is_taken_where_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {argument.name: argument.help or "" for argument in fresh_task(monkeypatch, "image.prune").get_arguments()}
    ends = {"keep": "3", "provider": "lxc", "os": "debian-13"}
    assert {name: told[name].rpartition(" (default: ")[2] for name in ends} == {
        name: f"{value})" for name, value in ends.items()
    }
    assert "default" not in told["dry_run"]


@pytest.mark.parametrize("name", sorted(tasks.namespace.task_names))
def test_every_task_has_a_one_line_help_and_explains_its_options(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    task = fresh_task(monkeypatch, name)
    assert task.__doc__
    assert len(task.__doc__.splitlines()) == 1
    assert [a.name for a in task.get_arguments() if not a.help] == []
    assert [n for a in task.get_arguments() for n in a.names if len(n) == 1] == [], "one-letter options are a promise"


DEFAULT = PROJECT / "config/default.yaml"
NO_OUTPUTS = Outputs(json=False, out=None, junit=None, html=None)
NO_OPTIONS = {"when": "", "os": "", "provider": "", "keep": 0, "jitter": "", "notify.on": "", "notify.webhook": ""}
DELEGATIONS = [
    ("down --lab 'a b.yaml' --keep", "down", "command", (Path("a b.yaml"), True)),
    ("up --resume", "up", "command", (DEFAULT, "", True, False, [], "")),
    ("up --lab=x.yaml --provider=lxc", "up", "command", (Path("x.yaml"), "lxc", False, False, [], "")),
    ("up --renew", "up", "command", (DEFAULT, "", False, True, [], "")),
    ("up --machine lb1 --machine lb2 --box 1a", "up", "command", (DEFAULT, "", False, False, ["lb1", "lb2"], "1a")),
    ("status --json", "status", "command", (DEFAULT, True, None)),
    ("status --out s.json", "status", "command", (DEFAULT, False, Path("s.json"))),
    ("plan --json", "show", "plan_command", (DEFAULT, True, None)),
    ("render --to d", "show", "render_command", (DEFAULT, Path("d"))),
    ("image --if-changed", "image", "command", ("debian-13", "lxc", True, {"gate": True})),
    ("image --no-gate", "image", "command", ("debian-13", "lxc", False, {"gate": False})),
    ("image.build --os debian-12", "image", "command", ("debian-12", "lxc", False, {"gate": True})),
    ("image.list --json", "shelf", "list_command", ("debian-13", "lxc", True)),
    ("image.diff 1a current", "shelf", "diff_command", ("debian-13", "lxc", "1a", "current", False)),
    ("image.rollback --to 1a", "shelf", "rollback_command", ("debian-13", "lxc", "1a")),
    ("image.prune --keep 2 --dry-run", "shelf", "prune_command", ("debian-13", "lxc", 2, True)),
    ("bundle", "bundles", "command", ("go", "", "", False)),
    ("bundle --docker", "bundles", "command", ("go", "", "", True)),
    (
        "bundle --from upstream --minor 1.35 --sources s.yaml",
        "bundles",
        "command",
        ("upstream", "1.35", "s.yaml", False),
    ),
    ("bundle.build --minor 1.36", "bundles", "command", ("go", "1.36", "", False)),
    ("bundle.list --json", "bundles", "list_command", (True,)),
    ("bundle.save b.tar --bundle 1.36", "bundles", "save_command", (Path("b.tar"), "1.36")),
    ("bundle.load b.tar", "bundles", "load_command", ("b.tar",)),
    ("bundle.check --bundle 1.36", "bundles", "check_command", ("1.36",)),
    ("schedule.install", "schedule", "install", (NO_OPTIONS,)),
    (
        "schedule.install --when daily --os debian-13 --keep 5 --jitter 1h --notify-on change --webhook http://h/",
        "schedule",
        "install",
        (
            {
                "when": "daily",
                "os": "debian-13",
                "provider": "",
                "keep": 5,
                "jitter": "1h",
                "notify.on": "change",
                "notify.webhook": "http://h/",
            },
        ),
    ),
    ("upgrade --bundle 1.36.3", "upgrade", "command", (DEFAULT, "1.36.3")),
    ("schedule.status --json", "schedule", "show_status", (True,)),
    ("schedule.remove", "schedule", "remove", ()),
    ("schedule.run --due --jitter", "schedule", "run_now", (True, True)),
    ("doctor --json", "doctor", "command", ("", True, DEFAULT)),
    ("ssh lb1", "ssh", "command", (DEFAULT, "lb1", [])),
    (
        """ssh lb1 -- sh -c 'echo '\\''a  b'\\'' "$HOME"' '' -- --help -f""",
        "ssh",
        "command",
        (DEFAULT, "lb1", ["sh", "-c", "echo 'a  b' \"$HOME\"", "", "--", "--help", "-f"]),
    ),
    ("shell -- ip -br a", "ssh", "shell", (DEFAULT, ["ip", "-br", "a"])),
    ("test --e2e -- -k 'a or b'", "selftest", "command", (True, False, False, ["-k", "a or b"])),
    ("test --vm", "selftest", "command", (False, True, False, [])),
    ("test --kubernetes", "selftest", "command", (False, False, True, [])),
    ("volume.grow master1 etcd 3G", "volume_command", "grow", (DEFAULT, "master1", "etcd", "3G")),
    ("snapshot.save --lab x.yaml", "snapshot", "save_command", (Path("x.yaml"), "last")),
    ("snapshot.restore --tag a", "snapshot", "restore_command", (DEFAULT, "a")),
    ("snapshot.list --json", "snapshot", "list_command", (DEFAULT, True)),
    ("snapshot.remove --tag a", "snapshot", "remove_command", (DEFAULT, "a")),
    ("kubectl -- get nodes -o 'wide'", "kubeconfig", "command", (DEFAULT, ["get", "nodes", "-o", "wide"])),
    ("demo", "demo", "command", (DEFAULT, False)),
    ("demo --remove", "demo", "command", (DEFAULT, True)),
    (
        "failover-test --scenario one --scenario two --repeat 3 --json --out o.json --junit j.xml --html h.html",
        "failover",
        "command",
        (
            DEFAULT,
            ["one", "two"],
            3,
            Outputs(json=True, out=Path("o.json"), junit=Path("j.xml"), html=Path("h.html")),
            {"judged": "", "resume": ""},
        ),
    ),
    ("failover-test --judge r", "failover", "command", (DEFAULT, [], 1, NO_OUTPUTS, {"judged": "r", "resume": ""})),
    ("failover-test --resume g", "failover", "command", (DEFAULT, [], 1, NO_OUTPUTS, {"judged": "", "resume": "g"})),
    ("failover-test --list", "failover", "list_command", (DEFAULT, NO_OUTPUTS)),
    ("failover-test --trend", "failover", "trend_command", (DEFAULT, NO_OUTPUTS)),
]


@pytest.mark.parametrize(
    ("line", "module", "function", "args"), DELEGATIONS, ids=[line[:60] for line, *_ in DELEGATIONS]
)
def test_a_task_calls_one_function(
    monkeypatch: pytest.MonkeyPatch, line: str, module: str, function: str, args: tuple[Any, ...]
) -> None:
    asked = stub(monkeypatch, module)
    assert run_program(monkeypatch, shlex.split(line)) == 0
    assert asked.calls == [(function, args)]


def test_every_task_is_among_the_delegations() -> None:
    tried = {shlex.split(line)[0] for line, *_ in DELEGATIONS}
    assert tried - {"image", "bundle"} == set(tasks.namespace.task_names)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 77])
def test_what_the_function_returns_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    stub(monkeypatch, "status", code)
    assert run_program(monkeypatch, ["status"]) == code


ENDS = [
    (LabError("no such lab", "look again"), 3, "rackbox: no such lab\n  hint: look again\n"),
    (MissingTool("packer: not found"), 3, "rackbox: packer: not found\n"),
    (CommandFailed("x: exit 1"), 1, "rackbox: x: exit 1\n"),
    (ConfigError([Problem("a.yaml", 3, "nodes", "must be odd; got 2")]), 3, "a.yaml:3: nodes: must be odd; got 2\n"),
    (
        OSError(errno.ENOSPC, "No space left on device", "/srv/box"),
        3,
        "rackbox: /srv/box: No space left on device\n"
        "  hint: make room, or set RACKBOX_HOME to a directory that has it\n",
    ),
    (KeyboardInterrupt(), 130, "rackbox: interrupted\n"),
]


def raising(error: BaseException) -> Collection:
    """A namespace with one task that ends in ``error``."""

    @command(name="end")
    def end(_: Context) -> int:
        """End badly."""
        raise error

    return Collection(end)


@pytest.mark.parametrize(("error", "code", "said"), ENDS, ids=lambda value: type(value).__name__)
def test_errors_become_a_message_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    assert run_program(monkeypatch, ["end"], raising(error)) == code
    assert capsys.readouterr().err == said


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_program(monkeypatch, ["end"], raising(ZeroDivisionError("a bug")))


def test_a_broken_pipe_of_a_machine_is_a_bug_not_our_reader_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokenPipeError):
        run_program(monkeypatch, ["end"], raising(BrokenPipeError()))


@pytest.mark.parametrize("option", ["--out", "--junit", "--html"])
@pytest.mark.parametrize("file", [".", "no such directory/o.json", "/proc/no/o.json"])
def test_a_file_to_write_is_looked_at_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, file: str
) -> None:
    failover = stub(monkeypatch, "failover")
    assert run_program(monkeypatch, ["failover-test", option, file]) == 3
    assert f"{option} {file}: cannot be written" in capsys.readouterr().err
    assert failover.calls == []


def test_plain_invoke_refuses_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """There only the task itself can look: Invoke has parsed its own option by then."""
    monkeypatch.setattr(sys, "argv", ["invoke", "--config", "x.yaml", "down"])
    called: list[Context] = []
    assert run_command(called.append, Context()) == 3
    assert called == []
    assert "--lab FILE" in capsys.readouterr().err


def test_the_lab_is_chosen_by_option_then_environment_then_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab_file("") == PROJECT / "config" / "default.yaml"
    monkeypatch.setenv("RACKBOX_LAB", "/srv/my lab.yaml")
    assert lab_file("") == Path("/srv/my lab.yaml")
    assert lab_file("other.yaml") == Path("other.yaml")


@pytest.mark.parametrize(
    ("argv", "before", "after"),
    [
        ([], [], []),
        (["a", "b"], ["a", "b"], []),
        (["a", "--"], ["a"], []),
        (["a", "--", "b c", "--", ""], ["a"], ["b c", "--", ""]),
    ],
)
def test_what_stands_after_the_double_dash(argv: list[str], before: list[str], after: list[str]) -> None:
    assert (before_double_dash(argv), after_double_dash(argv)) == (before, after)


@pytest.mark.parametrize("argv", [["ssh", "lb1", "--", "--config", "x"], ["up", "--lab", "f.yaml"], ["-l"], ["-pe"]])
def test_harmless_words_are_not_refused(argv: list[str]) -> None:
    check_core_options(argv)


def test_a_usage_error_is_a_lab_error() -> None:
    assert UsageError("x").exit_code == 3

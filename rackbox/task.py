"""``@command``: turns a typed function into an Invoke task that keeps the command line's contract.

The function returns an exit code (or None for 0). A ``LabError`` becomes a message on standard error and its exit
code, an interrupt 130; a bug keeps its traceback. Tasks themselves stay free of all that.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task, task

from rackbox.errors import EXIT_COULD_NOT_RUN, EXIT_INTERRUPTED, EXIT_OK, ConfigError, LabError
from rackbox.paths import PROJECT

__all__ = ["Context", "after_double_dash", "command", "group", "lab_file", "out_file", "path_or_none"]
"""What a part of the switchboard needs, ``Context`` among it: only this module and ``program`` know Invoke."""

EXIT_TERMINATED = 128 + signal.SIGTERM
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE

HELP = {
    "lab": "the lab's YAML file (default: $RACKBOX_LAB, else config/default.yaml)",
    "json": "print JSON on standard output and nothing else",
    "out": "write the JSON to this file",
    "provider": "what runs the machines: auto, lxc, libvirt, virtualbox (default: as the lab's file says)",
}

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_BOOLEAN_FLAGS = "delpw"  # Invoke's own one-letter switches, which may stand before another in one word
_REFUSED = (
    (
        re.compile(rf"--config(=.*)?|-[{_BOOLEAN_FLAGS}]*f.*", re.DOTALL),
        "--config is Invoke's own option and would not choose a lab",
        "choose the lab with --lab FILE after the task: ./lab down --lab FILE",
    ),
    (
        re.compile(rf"--dry(=.*)?|-[{_BOOLEAN_FLAGS}]*R.*", re.DOTALL),
        "--dry is Invoke's own option and would not keep a task from acting",
        "`plan` and `render` show what would be made, without making it",
    ),
)


class UsageError(LabError):
    """The command line cannot be understood, or would not do what it seems to say."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM, raised where the program is, so that everything is healed as on Ctrl-C."""


def lab_file(option: str) -> Path:
    """The lab's file: the option, else $RACKBOX_LAB, else the default lab of this project."""
    chosen = option or os.environ.get("RACKBOX_LAB", "")
    return Path(chosen) if chosen else PROJECT / "config" / "default.yaml"


def path_or_none(option: str) -> Path | None:
    return Path(option) if option else None


def out_file(option: str, flag: str = "--out") -> Path | None:
    """The file of ``--out`` and its like, looked at before anything slow is done for it."""
    if not option:
        return None
    path = Path(option)
    if path.is_dir() or not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UsageError(f"{flag} {option}: cannot be written", "name a file in a directory that is there and writable")
    return path


def before_double_dash(argv: Sequence[str]) -> list[str]:
    return list(argv[: argv.index("--")]) if "--" in argv else list(argv)


def after_double_dash(argv: Sequence[str]) -> list[str]:
    """What stands after the first ``--``, each argument as it was given (Invoke would join them by spaces)."""
    return list(argv[argv.index("--") + 1 :]) if "--" in argv else []


def check_core_options(argv: Sequence[str]) -> None:
    """Refuse Invoke's core options that would silently do something else, wherever they stand before ``--``."""
    for word in before_double_dash(argv):
        for pattern, message, hint in _REFUSED:
            if pattern.fullmatch(word):
                raise UsageError(message, hint)


def command(
    *, name: str | None = None, default: bool = False, iterable: Sequence[str] = (), **help: str
) -> Callable[[Callable[..., int | None]], Task[Any]]:
    """An Invoke task from a function. ``help`` explains its own options; those in ``HELP`` are known."""

    def decorate(function: Callable[..., int | None]) -> Task[Any]:
        @functools.wraps(function)
        def body(context: Context, **options: Any) -> None:
            code = run_command(function, context, **options)
            if code != EXIT_OK:
                raise Exit(code=code)

        parameters = list(inspect.signature(function).parameters.values())[1:]
        options = {parameter.name for parameter in parameters}
        made: Task[Any] = task(
            name=name,
            default=default,
            iterable=list(iterable),
            positional=[p.name for p in parameters if p.default is p.empty and p.name not in iterable],
            help=_with_defaults({**{name: text for name, text in HELP.items() if name in options}, **help}, parameters),
            auto_shortflags=False,
        )(body)
        return made

    return decorate


def _with_defaults(help: Mapping[str, str], parameters: Sequence[inspect.Parameter]) -> dict[str, str]:
    """Each option's explanation, with the value it has when it is not given, if that is one and is not told yet."""
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and p.default}
    return {
        name: f"{text} (default: {defaults[name]})" if name in defaults and "default" not in text else text
        for name, text in help.items()
    }


def group(name: str, *tasks: Task[Any]) -> Collection:
    """Tasks that are called ``name.task``, for a module that is a part of the switchboard."""
    return Collection(name, *tasks)


def run_command(function: Callable[..., int | None], *args: Any, **options: Any) -> int:
    """Call ``function`` and give the exit code of what came of it; a bug passes through."""
    previous = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        check_core_options(sys.argv[1:])
        code = function(*args, **options)
        sys.stdout.flush()
    except LabError as error:
        print_error(error)
        return error.exit_code
    except _Terminated:
        print("rackbox: terminated", file=sys.stderr)
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        print("rackbox: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        if stdout_is_read():
            raise
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print_error(LabError(f"{place}{error.strerror}", "make room, or set RACKBOX_HOME to a directory that has it"))
        return EXIT_COULD_NOT_RUN
    finally:
        signal.signal(signal.SIGTERM, previous)
    return EXIT_OK if code is None else code


def print_error(error: LabError) -> None:
    """``rackbox: what is wrong`` and, below, what to do. A config's problems stay ``file:line: …`` for editors."""
    prefix = "" if isinstance(error, ConfigError) else "rackbox: "
    print(f"{prefix}{error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)


def usage_exit(error: UsageError) -> NoReturn:
    """Leave Invoke's parser with this error. Only for code that runs outside a task."""
    print_error(error)
    raise Exit(code=EXIT_COULD_NOT_RUN)


def _raise_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def stdout_is_read() -> bool:
    """False when the reader of our standard output is gone (``invoke plan | head -1``): then nobody wants an error.

    Standard output is pointed elsewhere, or Python's own flush at exit would complain.
    """
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # replaced by something without one
        return True
    poll = select.poll()
    poll.register(descriptor, 0)
    if not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        return True
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), descriptor)
    return False

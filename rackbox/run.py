"""Runs programs: the one place in rackbox that starts a subprocess and waits for it.

Argv lists only, standard input closed, a timeout always. A failure shows the pasteable command, the exit code or
signal, the last lines and the log's path; secrets named in ``mask`` never reach a message or a log.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rackbox.errors import CommandFailed, MissingTool

TAIL_LINES = 15
GRACE_S = 5.0
"""Seconds that a program has to clean up after itself when it is ended."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished program said. ``returncode`` is negative for a signal, as in ``subprocess``."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.returncode == 0


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    check: bool = True,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    mask: Sequence[str] = (),
) -> Result:
    """Run ``argv`` to its end.

    ``timeout`` is seconds. ``log`` gets the command and all its output appended. With ``check`` a non-zero exit
    raises ``CommandFailed``; a program that is not installed raises ``MissingTool`` always.
    """
    started = time.monotonic()
    try:
        process = subprocess.Popen(  # noqa: S603 - argv lists only, this is the one wrapper
            list(argv),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise MissingTool(f"{argv[0]}: not found", "run `./lab doctor` to see what is missing") from error
    try:
        out, err = process.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        out, err = _end(process)
        result = Result(tuple(argv), -signal.SIGKILL, out, err, time.monotonic() - started)
        _write_log(log, result, mask)
        raise CommandFailed(describe(result, log, mask, f"no end after {timeout:g} s, killed")) from error
    except BaseException:
        _end(process)
        raise
    code = process.returncode
    result = Result(tuple(argv), code, out, err, time.monotonic() - started)
    _write_log(log, result, mask)
    if check and not result.ok:
        raise CommandFailed(describe(result, log, mask))
    return result


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End a program and all that it has started, first so that it can clean up; return what it had said."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        said = process.communicate(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            said = process.communicate(timeout=GRACE_S)
        except subprocess.TimeoutExpired as error:  # something that left the group has its output still
            said = (_text(error.stdout), _text(error.stderr))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return said


def describe(result: Result, log: Path | None = None, mask: Sequence[str] = (), end: str = "") -> str:
    """The words a person needs about a program that ended badly."""
    if not end:
        end = (
            f"killed by {signal.Signals(-result.returncode).name}"
            if result.returncode < 0
            else f"exit {result.returncode}"
        )
    lines = (result.stdout.splitlines() + result.stderr.splitlines())[-TAIL_LINES:]
    text = [f"{shlex.join(result.argv)}: {end}", *(f"  | {line}" for line in lines)]
    if log is not None:
        text.append(f"  full log: {log}")
    return _masked("\n".join(text), mask)


def _write_log(log: Path | None, result: Result, mask: Sequence[str]) -> None:
    if log is None:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    head = f"$ {shlex.join(result.argv)}\n"
    tail = f"[exit {result.returncode} after {result.seconds:.2f} s]\n"
    with log.open("a", encoding="utf-8") as stream:
        stream.write(_masked(head + result.stdout + result.stderr + tail, mask))


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "********")
    return text


def _text(data: bytes | str | None) -> str:
    if data is None:
        return ""
    return data.decode(errors="replace") if isinstance(data, bytes) else data

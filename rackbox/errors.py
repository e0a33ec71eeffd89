"""The errors a user can meet. Each says what is wrong and what to do about it.

Only ``tasks.py`` (through ``rackbox.program``) turns one into an exit code. Anything that is not a
``LabError`` is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_UNKNOWN = 2
EXIT_COULD_NOT_RUN = 3
EXIT_INTERRUPTED = 130


class LabError(Exception):
    """Something a user can act on: ``message`` says what, where; ``hint`` says what to do."""

    exit_code = EXIT_COULD_NOT_RUN

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a config file.

    ``path`` is dotted (``nodes.master.count``), ``line`` is 1-based (0 = unknown), ``text`` reads
    "must be …; got …".
    """

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.path}: {self.text}" if self.path else f"{where}: {self.text}"


class ConfigError(LabError):
    """A config that cannot be used: every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem], hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems), hint)


class MissingTool(LabError):
    """A program, a privilege or room that must be there before the first slow step is not."""


class CommandFailed(LabError):
    """A program ended badly. The message holds the pasteable command, its end and its last lines."""

    exit_code = EXIT_FAILED


class Unavailable(LabError):
    """Whoever publishes something does not have it, or does not answer: what is good without it may do without it."""


class ModulesUnavailable(Unavailable, CommandFailed):
    """Go's module proxy was not reached, refused, or lacks a module."""


class MachineError(LabError):
    """A machine did not do its part: the message names machine, hook and last log lines."""

    exit_code = EXIT_FAILED


class WaitTimeout(LabError):
    """A deadline passed. The message carries the last evidence that was seen."""

    exit_code = EXIT_FAILED


class LabBusy(LabError):
    """Another command is acting on the same lab."""

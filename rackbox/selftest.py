"""``invoke test``: hands over to pytest, in the project, whatever the current directory is."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from rackbox.errors import MissingTool
from rackbox.paths import PROJECT


def pytest_argv(e2e: bool, vm: bool, extra: Sequence[str]) -> list[str]:
    """The command line of pytest for these tiers; ``vm`` alone is that tier and no other."""
    tiers = ["--e2e"] if e2e else []
    if vm:
        tiers += ["--vm"] if e2e else ["-m", "vm"]
    return [sys.executable, "-m", "pytest", *tiers, *extra]


def command(e2e: bool, vm: bool, extra: Sequence[str]) -> NoReturn:
    """Become pytest: its exit code, its last line and its way with signals are the task's."""
    if importlib.util.find_spec("pytest") is None:
        raise MissingTool("pytest is not in this environment", "`./lab test` puts it there")
    sys.stdout.flush()
    os.chdir(PROJECT)
    os.execv(sys.executable, pytest_argv(e2e, vm, extra))  # noqa: S606 - argv, no shell; nothing of ours is left to run

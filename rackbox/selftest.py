"""``invoke test``: hands over to pytest, in the project, whatever the current directory is."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from rackbox.errors import MissingTool
from rackbox.paths import PROJECT


def pytest_argv(e2e: bool, vm: bool, kubernetes: bool, extra: Sequence[str]) -> list[str]:
    """The command line of pytest for these tiers; ``vm`` and ``kubernetes`` without ``e2e`` are those tiers and no
    others."""
    named = [name for name, wanted in (("vm", vm), ("kubernetes", kubernetes)) if wanted]
    alone = ["-m", " or ".join(named)] if named else []
    tiers = ["--e2e", *(f"--{name}" for name in named)] if e2e else alone
    return [sys.executable, "-m", "pytest", *tiers, *extra]


def command(e2e: bool, vm: bool, kubernetes: bool, extra: Sequence[str]) -> NoReturn:
    """Become pytest: its exit code, its last line and its way with signals are the task's."""
    if importlib.util.find_spec("pytest") is None:
        raise MissingTool("pytest is not in this environment", "`./lab test` puts it there")
    sys.stdout.flush()
    os.chdir(PROJECT)
    argv = pytest_argv(e2e, vm, kubernetes, extra)
    os.execv(sys.executable, argv)  # noqa: S606 - argv, no shell; nothing of ours is left to run

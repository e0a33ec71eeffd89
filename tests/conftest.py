"""What all tests share: which tiers run, and the guard that keeps the fast ones fast and harmless.

Tiers: unit, golden, shell and linters run always; ``consumer`` and ``e2e`` with ``--e2e`` (or when named by ``-m``);
``catalogue``, all faults on both stacks, ``life``, boxes and labs that are renewed, ``vm``, virtual machines and their
boxes, ``virtualbox``, which needs one unpacked, and ``kubernetes``, a real cluster, only when named (``--vm`` and
``--kubernetes`` add theirs to ``--e2e``).
A test without a mark that allows it may start no program and open no socket: it would be slow, or act on this computer.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

ACTING_TIERS = ("consumer", "e2e")
OPT_IN = ("catalogue", "life", "vm", "virtualbox", "kubernetes")
WITH_E2E = ("vm", "kubernetes")
MAY_START_PROGRAMS = ("subprocess", "shell", "linter", "browser", *ACTING_TIERS)
MAY_OPEN_SOCKETS = ("loopback", *ACTING_TIERS)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--e2e", action="store_true", help="run the consumer and e2e tiers, too (real machines, as root)")
    parser.addoption("--vm", action="store_true", help="with --e2e: virtual machines, too")
    parser.addoption("--kubernetes", action="store_true", help="with --e2e: a real cluster, too")
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files; the tests fail if any changed"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:  # a folder is a tier
        for tier in ("consumer", "e2e", "shell"):
            if f"/tests/{tier}/" in item.path.as_posix():
                item.add_marker(tier)
    items.sort(key=_turn)
    wanted = config.getoption("-m")
    if any(mark in wanted for mark in OPT_IN):
        return
    opt_in = tuple(mark for mark in OPT_IN if mark not in WITH_E2E or not config.getoption(f"--{mark}"))
    left_out = opt_in if wanted or config.getoption("--e2e") else (*opt_in, *ACTING_TIERS)
    chosen = [item for item in items if not any(item.get_closest_marker(mark) for mark in left_out)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _turn(item: pytest.Item) -> int:
    """The fast tiers first; consumer tests last, since they look into the box that the e2e tests build if need be."""
    return next((turn for turn, tier in ((2, "consumer"), (1, "e2e")) if item.get_closest_marker(tier)), 0)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test looks for packages elsewhere: there is a source of none."""
    monkeypatch.setenv("RACKBOX_SOURCES", str(Path(__file__).with_name("no_sources.yaml")))


@pytest.fixture(autouse=True)
def _harmless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any program or socket raises, unless the test's mark allows it. What the user has set up does not count."""
    for name in ("RACKBOX_LAB", "RACKBOX_HOME", "INVOKE_RUNTIME_CONFIG"):
        if request.node.get_closest_marker("e2e") is None:
            monkeypatch.delenv(name, raising=False)
    if not any(request.node.get_closest_marker(mark) for mark in MAY_START_PROGRAMS):
        monkeypatch.setattr(subprocess, "Popen", _ForbiddenPopen)
        for call in ("system", "fork", "execv", "execve", "posix_spawn"):
            monkeypatch.setattr(os, call, _forbid("starts a program"))
    if not any(request.node.get_closest_marker(mark) for mark in MAY_OPEN_SOCKETS):
        monkeypatch.setattr(socket.socket, "connect", _forbid("opens a connection"))
        monkeypatch.setattr(socket.socket, "bind", _forbid("binds a socket"))


class Forbidden(AssertionError):
    """A unit test did what only a marked test may do."""


class _ForbiddenPopen(subprocess.Popen[Any]):
    """A class still, since libraries take it as a base."""

    def __init__(self, args: Any, *_: Any, **__: Any) -> None:
        raise Forbidden(f"a unit test starts a program: {args}")

    def __del__(self, *_: Any) -> None:
        """The real one would miss what its constructor has not set."""


def _forbid(what: str) -> Any:
    def forbidden(*args: Any, **_: Any) -> NoReturn:
        raise Forbidden(f"a unit test {what}: {args[1:] or args}")

    return forbidden

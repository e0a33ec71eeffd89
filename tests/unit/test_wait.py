"""The one way to wait: real runs and bad ends."""

from __future__ import annotations

import time

import pytest

from rackbox.errors import EXIT_FAILED, WaitTimeout
from rackbox.wait import NotYet, wait_for


def test_returns_what_the_probe_returns() -> None:
    assert wait_for("a thing", lambda: 7, timeout=1) == 7


def test_asks_again_until_it_is_there() -> None:
    answers = iter([NotYet("one"), NotYet("two")])

    def probe() -> str:
        for answer in answers:
            raise answer
        return "there"

    assert wait_for("a thing", probe, timeout=1, interval=0.001) == "there"


def test_the_error_says_what_how_long_and_what_was_last_seen() -> None:
    seen = iter(range(1000))

    def probe() -> None:
        raise NotYet(f"{next(seen)} of 3 peers")

    with pytest.raises(WaitTimeout, match=r"peers connected: not within 0\.05 s; last seen: \d+ of 3 peers") as info:
        wait_for("peers connected", probe, timeout=0.05, interval=0.01, hint="look at gluster1")
    assert info.value.hint == "look at gluster1"
    assert info.value.exit_code == EXIT_FAILED


def test_the_deadline_is_kept() -> None:
    def probe() -> None:
        raise NotYet("nothing")

    started = time.monotonic()
    with pytest.raises(WaitTimeout):
        wait_for("never", probe, timeout=0.1, interval=0.02)
    assert time.monotonic() - started < 0.5


def test_a_terminal_state_ends_the_wait_at_once() -> None:
    def probe() -> None:
        raise ValueError("the machine is gone")

    started = time.monotonic()
    with pytest.raises(ValueError, match="gone"):
        wait_for("a machine", probe, timeout=30)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_even_without_time_it_is_asked_once(timeout: float) -> None:
    assert wait_for("a thing", lambda: "there", timeout=timeout) == "there"

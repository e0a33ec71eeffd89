"""Ctrl-C and SIGTERM are let in only where it is allowed, and never lost."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from rackbox.interrupts import Interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_held_back_until_allowed(number: signal.Signals) -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            pytest.fail("not reached")


@pytest.mark.parametrize("number", SIGNALS)
def test_let_in_where_allowed(number: signal.Signals) -> None:
    def be_killed() -> None:
        os.kill(os.getpid(), number)
        pytest.fail("not reached")

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.allowed():
        be_killed()


def test_raised_at_the_end_at_the_latest() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), signal.SIGTERM)


def test_another_error_is_not_hidden_by_it() -> None:
    def fail() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"), Interrupts():
        fail()


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_another_thread_it_does_nothing() -> None:
    failures: list[BaseException] = []

    def use() -> None:
        try:
            with Interrupts() as interrupts, interrupts.allowed():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert failures == []

"""Ctrl-C and SIGTERM at any moment of a failover test: everything is healed, nothing is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rackbox.failover import judge
from rackbox.recorder import load_history
from tests.fakes import FakeLab
from tests.unit.test_failover import only_run, play, run_dirs

CATALOGUE = ("haproxy-killed", "holder-powered-off", "standby-powered-off", "etcd-leader-powered-off")
"""A fault by a command, by the plug, beside the holder, and behind the balancers; every fault is
interrupted on real machines (``tests/e2e/test_e2e_4_faults.py``)."""


@pytest.fixture
def lab(tmp_path: Path) -> FakeLab:
    return FakeLab(tmp_path)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("holder-powered-off", "evidence"),
        *((name, moment) for name in CATALOGUE for moment in ("inject", "heal", "healthy")),
    ],
)
def test_an_interrupt_at_any_moment_leaves_nothing_behind(lab: FakeLab, name: str, moment: str) -> None:
    lab.raises[moment] = KeyboardInterrupt()
    if moment in ("heal", "healthy"):  # not the preflight's
        error = lab.raises.pop(moment)
        lab.after_inject = lambda lab: lab.raises.update({moment: error})
    with pytest.raises(KeyboardInterrupt):
        play(lab, name)
    assert lab.all_well
    history = load_history(run_dirs(lab)[0] / "history.jsonl")
    assert history.first("interrupted") is not None
    assert history.first("heal-end") is not None
    assert only_run(judge(run_dirs(lab)[0])).verdict == "unknown"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.0, 0.1, 1.0])
def test_a_signal_while_waiting_heals_and_ends(lab: FakeLab, number: signal.Signals, delay: float) -> None:
    def arm(lab: FakeLab) -> None:
        due = lab.clock() + delay

        def fire(now: float) -> None:
            if now >= due:
                lab.clock.on_tick.remove(fire)
                os.kill(os.getpid(), number)

        lab.clock.on_tick.append(fire)

    lab.after_inject = arm
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        play(lab, "holder-powered-off")
    assert lab.all_well
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_within_the_injection_waits_until_it_is_done(lab: FakeLab) -> None:
    lab.after_inject = lambda lab: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        play(lab, "holder-powered-off")
    history = load_history(run_dirs(lab)[0] / "history.jsonl")
    assert history.first("inject-end") is not None
    assert lab.all_well


def test_a_signal_within_the_healing_waits_until_it_is_done(lab: FakeLab) -> None:
    lab.after_heal = lambda lab: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        play(lab, "holder-powered-off")
    assert lab.all_well

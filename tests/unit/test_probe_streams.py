"""Kept connections and long-lived streams: the probes' processes against the double of etcd, cut and silent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.etcd_double import EtcdDouble
from tests.probing import wait_until
from tests.unit.test_probes import Running

pytestmark = [pytest.mark.loopback, pytest.mark.subprocess]


@pytest.fixture
def double(tmp_path: Path) -> Iterator[EtcdDouble]:
    with EtcdDouble(tmp_path) as running:
        yield running


class Patient(Running):
    """Not so often, and with more time for an answer: these tests are about connections, not about speed."""

    def __init__(self, double: EtcdDouble, probe: str, **changes: object) -> None:
        super().__init__(double, probe, **{"interval": 0.05, "timeout": 2.0, **changes})


# --- kept connections


def test_connections_are_kept(double: EtcdDouble) -> None:
    with Patient(double, "etcd-keepalive") as running:
        running.more(10)
    attempts = running.history.attempts("etcd-keepalive")
    assert attempts[0].detail == "ff new connection (none idle)"
    assert double.connections < len(attempts) / 2
    assert sum("new connection" in attempt.detail for attempt in attempts) == double.connections


def test_a_broken_idle_connection_is_replaced_and_said(double: EtcdDouble) -> None:
    with Patient(double, "etcd-keepalive", interval=0.1) as running:
        double.cut_connections()
        running.more(5)
    details = [attempt.detail for attempt in running.history.attempts("etcd-keepalive") if attempt.good]
    assert any("new connection (idle one" in detail for detail in details), details


def test_a_kept_connection_that_goes_silent_is_a_timeout_and_given_up(double: EtcdDouble) -> None:
    with Patient(double, "etcd-keepalive", timeout=0.2) as running:
        double.mute_until = time.monotonic() + 0.5
        time.sleep(0.6)
        running.more(10)
    silent = [a for a in running.history.attempts("etcd-keepalive") if a.outcome == "timeout"]
    assert "on a kept connection" in {attempt.detail for attempt in silent}


# --- a stream


def streams(running: Running) -> list[str]:
    return [record.text("state") for record in running.history.events("stream")]


def test_a_quiet_stream_is_opened_once_and_misses_nothing(double: EtcdDouble) -> None:
    with Patient(double, "etcd-watch") as running:
        running.more(10)
    assert streams(running) == ["open"]
    found = running.audit
    assert found.number("acknowledged") == running.goods()
    assert (found.texts("lost"), found.texts("twice"), found.texts("disorder")) == ((), (), ())
    assert found.text("of") == "events"
    assert double.keys == []


def test_a_cut_stream_is_taken_up_where_it_was(double: EtcdDouble) -> None:
    with Patient(double, "etcd-watch", interval=0.05) as running:
        for _ in range(3):
            double.cut_streams()
            running.more(5)
    assert streams(running) == ["open", *["cut", "open"] * 3]
    found = running.audit
    assert found.number("cuts") == 3
    assert (found.texts("lost"), found.texts("twice"), found.texts("disorder")) == ((), (), ())


def test_an_event_that_never_comes_is_lost(double: EtcdDouble) -> None:
    with Patient(double, "etcd-watch", timeout=3.0, audit_seconds=3.0) as running:
        double.lose_event = True
        running.more(10)
    assert len(running.audit.texts("lost")) == 1
    assert double.keys != [], "what is wrong stays, for whoever wants to look"


def test_a_stream_that_falls_silent_is_cut_and_taken_up(double: EtcdDouble) -> None:
    """Nothing says that the connection is dead, but an acknowledged tick's event is overdue."""
    with Patient(double, "etcd-watch", timeout=0.5) as running:
        double.hush_until = time.monotonic() + 0.8
        wait_until(lambda: streams(running)[:3] == ["open", "cut", "open"])
        time.sleep(0.8)
        running.more(10)
    cuts = [record.text("reason") for record in running.history.events("stream") if record.text("state") == "cut"]
    assert "silent: an event is" in cuts[0]
    late = {attempt.detail for attempt in running.history.attempts("etcd-watch") if not attempt.good}
    assert "put acknowledged, its event did not arrive; stream open" in late
    assert running.audit.texts("lost") == ()


@pytest.mark.parametrize(("lie", "field"), [("repeat_event", "twice"), ("swap_events", "disorder")])
def test_a_lying_stream_is_found_out(double: EtcdDouble, lie: str, field: str) -> None:
    with Patient(double, "etcd-watch") as running:
        setattr(double, lie, True)
        running.more(10)
    assert len(running.audit.texts(field)) >= 1


def test_a_put_that_failed_is_not_blamed_on_the_stream(double: EtcdDouble) -> None:
    with Patient(double, "etcd-watch") as running:
        double.refuse_until = time.monotonic() + 0.3
        time.sleep(0.4)
        running.more(10)
    bad = [attempt.detail for attempt in running.history.attempts("etcd-watch") if not attempt.good]
    assert bad
    assert all(detail.startswith("the put failed: ") and detail.endswith("; stream open") for detail in bad), bad
    assert streams(running) == ["open"]

"""A probe whose own computer has no time for it must say so: real processes, stopped and starved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from rackbox.history import Attempt, History, JsonValue, Record
from rackbox.outage import find_starvation
from rackbox.verdict import judge_run
from tests.etcd_double import EtcdDouble
from tests.probing import wait_until
from tests.unit.test_probes import INTERVAL, Running

pytestmark = [pytest.mark.loopback, pytest.mark.subprocess]


@pytest.fixture
def double(tmp_path: Path) -> Iterator[EtcdDouble]:
    with EtcdDouble(tmp_path) as running:
        yield running


@dataclass(frozen=True)
class Spell:
    """A stretch of time in a probe's life."""

    running: Running
    begin: float
    end: float

    def why(self) -> str:
        return find_starvation(attempts(self.running), self.begin, self.end, self.running.settings.interval)


def test_a_probe_that_has_time_is_believed(double: EtcdDouble) -> None:
    with Running(double, "etcd-read") as running:
        begin = time.monotonic()
        time.sleep(1.0)
        spell = Spell(running, begin, time.monotonic())
    assert spell.why() == ""
    end = running.only("probe-end")
    assert end.number("latest_ms") < 5 * INTERVAL * 1000
    assert end.number("waited_seconds") >= 0


@pytest.mark.parametrize("probe", ["etcd-read", "etcd-keepalive", "etcd-watch", "etcd-write"])
def test_a_stopped_probe_is_not_believed(double: EtcdDouble, probe: str) -> None:
    with Running(double, probe) as running:
        begin = time.monotonic()
        os.kill(running.process.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(running.process.pid, signal.SIGCONT)
        time.sleep(0.3)
        spell = Spell(running, begin, time.monotonic())
    assert "made no attempt for" in spell.why()
    assert running.only("probe-end").number("skipped") >= 15


def put_last(pid: int) -> None:
    """Last in line for a CPU (sched(7)): among the processes of its session, and that session among the others, where
    the kernel shares time out by sessions first (autogroup)."""
    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    set_autogroup(pid, 19)


def put_back(pid: int) -> None:
    with suppress(PermissionError, BlockingIOError):  # for root only; without the loops it has time as it is
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        set_autogroup(pid, 0)


def set_autogroup(pid: int, nice: int) -> None:
    with suppress(FileNotFoundError):  # a kernel without it
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def waited_seconds(pid: int) -> float:
    """For how long a process was ready to run and had no CPU, by the kernel's own count."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="needs Linux's schedulers")
def test_a_probe_without_cpu_is_not_believed(double: EtcdDouble) -> None:
    """On one CPU with two busy loops, and last in line for it, until it has been kept waiting for long enough."""
    cpus = os.sched_getaffinity(0)
    cpu = min(cpus)
    with Running(double, "etcd-read") as running:
        pid = running.process.pid
        os.sched_setaffinity(pid, {cpu})
        put_last(pid)
        hogs = [
            subprocess.Popen(["taskset", "--cpu-list", str(cpu), sys.executable, "-c", "while True: pass"])
            for _ in range(2)
        ]
        begin, waited = time.monotonic(), waited_seconds(pid)
        try:
            # Not a question of the clock: a busy computer takes longer to start the loops, and starves it the sooner.
            wait_until(
                lambda: (
                    waited_seconds(pid) - waited > 1.0
                    and any(attempt.start > begin and attempt.lateness > 5 * INTERVAL for attempt in attempts(running))
                )
            )
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        end = time.monotonic()
        os.sched_setaffinity(pid, cpus)
        put_back(pid)
        wait_until(lambda: attempts(running)[-1].start > end)
    assert Spell(running, begin, end).why() != ""
    last = running.only("probe-end")
    assert last.number("waited_seconds") > 0.9
    assert last.number("latest_ms") > 5 * INTERVAL * 1000


def attempts(running: Running) -> tuple[Attempt, ...]:
    return running.history.attempts(running.settings.probe)


def test_a_starved_run_is_unknown(double: EtcdDouble) -> None:
    """A real probe's history, with a fault put in while the probe was stopped: never held."""
    with Running(double, "etcd-read") as running:
        time.sleep(1.1)
        injected = time.monotonic()
        os.kill(running.process.pid, signal.SIGSTOP)
        time.sleep(0.4)
        os.kill(running.process.pid, signal.SIGCONT)
        time.sleep(1.0)
    last = max(record.t for record in running.history.records)
    header: dict[str, JsonValue] = {
        "scenario": "s",
        "probes": ["etcd-read"],
        "judged": "etcd-read",
        "budget_ms": 2000,
        "expects_bite": False,
        "one_holder": False,
        "target": "t",
    }
    around = (
        Record(injected - 5, 0.0, "test", "header", header),
        Record(injected, 0.0, "fault", "inject-start", {"fault": "f"}),
        Record(last - 0.1, 0.0, "fault", "heal-start", {}),
        Record(last, 0.0, "test", "run-end", {}),
    )
    verdict = judge_run(History((*around, *running.history.records)), "run")
    assert verdict.verdict == "unknown"
    assert any(reason.startswith("etcd-read made no attempt for") for reason in verdict.reasons), verdict.reasons

"""The probes' own process against a double of etcd on loopback: real TLS, real clocks, known failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from rackbox.errors import LabError
from rackbox.outage import measure_outage
from rackbox.paths import PROJECT
from rackbox.probes import PROBES, ProbeSettings, parse_settings
from rackbox.probes.endpoints import AddressEndpoint, DnsEndpoint, Endpoint, EtcdEndpoint, GuestEndpoint
from rackbox.probes.etcd import prefix_end
from rackbox.probes.process import plan_settings
from rackbox.recorder import load_history
from tests.etcd_double import EtcdDouble
from tests.fakes import FakeLab
from tests.probing import RunningProbe, wait_until
from tests.tls_double import NAME, make_credentials

INTERVAL = 0.02


@pytest.fixture
def double(tmp_path: Path) -> Iterator[EtcdDouble]:
    with EtcdDouble(tmp_path) as running:
        yield running


def endpoint_of(double: EtcdDouble, **changes: object) -> EtcdEndpoint:
    here = str(double.directory)
    plain = EtcdEndpoint("127.0.0.1", double.port, NAME, f"{here}/ca.pem", f"{here}/client.pem", f"{here}/client.key")
    return replace(plain, **changes)  # type: ignore[arg-type]


def settings_for(double: EtcdDouble, probe: str, **changes: object) -> ProbeSettings:
    here = double.directory
    values: dict[str, object] = {
        "probe": probe,
        "history": here / "history.jsonl",
        "run_id": "run-1",
        "endpoint": endpoint_of(double),
        "interval": INTERVAL,
        "timeout": 0.5,
        "max_seconds": 20.0,
        **changes,
    }
    return ProbeSettings(**values)  # type: ignore[arg-type]


class Running(RunningProbe):
    def __init__(self, double: EtcdDouble, probe: str, **changes: object) -> None:
        super().__init__(settings_for(double, probe, **changes), double.directory)

    def begin(self) -> None:
        wait_until(lambda: len(self.history.events("attempt")) >= 15 or bool(self.process.ended()))


pytestmark = [pytest.mark.loopback, pytest.mark.subprocess]


def test_reads_are_good_new_tls_connections_by_name(double: EtcdDouble) -> None:
    with Running(double, "etcd-read") as running:
        pass
    attempts = running.history.attempts("etcd-read")
    assert all(attempt.good and attempt.detail == "ff" for attempt in attempts), attempts
    assert double.protocols == {"TLSv1.3"}
    assert double.resumed == 0
    assert len(double.requests) == len(attempts)
    start, end = running.only("probe-start"), running.only("probe-end")
    assert start.number("interval_ms") == INTERVAL * 1000
    assert start.text("scheduling") in ("real-time", "nice -10", "normal")
    assert end.number("attempts") == len(attempts)
    assert 0 < end.number("cpu_seconds") < end.number("seconds")
    assert not running.process.ended().startswith("probe etcd-read ended with 1")


def test_chunked_answers_are_understood(double: EtcdDouble) -> None:
    double.chunked = True
    with Running(double, "etcd-read-serializable") as running:
        pass
    assert all(attempt.good for attempt in running.history.attempts("etcd-read-serializable"))


@pytest.mark.parametrize("seconds", [0.1, 0.4])
def test_a_known_drop_is_reported_within_the_resolution(double: EtcdDouble, seconds: float) -> None:
    with Running(double, "etcd-read") as running:
        time.sleep(0.6)
        dropped = time.monotonic()
        double.refuse_until = dropped + seconds
        time.sleep(seconds + 0.4)
    outage = measure_outage(running.history.attempts("etcd-read"), dropped, INTERVAL)
    assert outage.recovered
    slack = 0.1  # the double lives in this process, and may itself be late on a busy computer
    assert abs(outage.seconds - seconds) <= outage.resolution + slack
    assert outage.failed >= 2


def test_silence_is_a_timeout_and_the_schedule_goes_on(double: EtcdDouble) -> None:
    with Running(double, "etcd-read", timeout=0.2) as running:
        stalled = time.monotonic()
        double.stall_until = stalled + 0.6
        time.sleep(1.0)
    attempts = running.history.attempts("etcd-read")
    silent = [attempt for attempt in attempts if attempt.outcome == "timeout"]
    assert len(silent) >= 10, "an attempt that hangs must not hold up the next"
    assert all(attempt.seconds == pytest.approx(0.2, abs=0.1) for attempt in silent)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [("status", "HTTP 503"), ("name", "CERTIFICATE_VERIFY_FAILED"), ("authority", "CERTIFICATE_VERIFY_FAILED")],
)
def test_wrong_answers_are_failures(double: EtcdDouble, tmp_path: Path, trouble: str, words: str) -> None:
    changes: dict[str, object] = {}
    if trouble == "status":
        double.status = 503
    elif trouble == "name":
        changes["server_name"] = "somebody.else"
    else:
        other = tmp_path / "other"
        other.mkdir()
        make_credentials(other)
        changes["ca"] = str(other / "ca.pem")
    with Running(double, "etcd-read", endpoint=endpoint_of(double, **changes)) as running:
        pass
    assert all(a.outcome == "fail" and words in a.detail for a in running.history.attempts("etcd-read"))


def test_a_client_without_a_certificate_of_the_lab_is_refused(double: EtcdDouble, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_credentials(other)
    theirs = endpoint_of(double, certificate=str(other / "client.pem"), key=str(other / "client.key"))
    with Running(double, "etcd-read", endpoint=theirs) as running:
        pass
    assert not any(attempt.good for attempt in running.history.attempts("etcd-read"))


def test_writes_are_read_back_and_cleared(double: EtcdDouble) -> None:
    with Running(double, "etcd-write") as running:
        assert all(key.startswith("/rackbox/probe/run-1/") for key in double.keys)
    audit = running.only("probe-audit")
    assert audit.number("acknowledged") == len(running.history.attempts("etcd-write"))
    assert (audit.texts("lost"), audit.texts("twice")) == ((), ())
    assert double.keys == []


@pytest.mark.parametrize("lie", ["forget", "repeat"])
def test_a_liar_is_found_out(double: EtcdDouble, lie: str) -> None:
    setattr(double, lie, True)
    with Running(double, "etcd-write") as running:
        pass
    audit = running.only("probe-audit")
    assert len(audit.texts("lost" if lie == "forget" else "twice")) >= 10


def test_writes_that_cannot_be_read_back_are_an_error(double: EtcdDouble) -> None:
    with Running(double, "etcd-write", audit_seconds=0.5) as running:
        double.refuse_until = time.monotonic() + 60
    assert running.only("probe-audit").text("error")


def test_it_ends_on_sigterm(double: EtcdDouble) -> None:
    with Running(double, "etcd-read") as running:
        os.kill(running.process.pid, signal.SIGTERM)
        wait_until(lambda: running.process.ended())
    assert "ended with 0" in running.process.ended()
    assert running.only("probe-end")


def test_it_ends_when_its_time_is_up(double: EtcdDouble) -> None:
    with Running(double, "etcd-read", max_seconds=0.4) as running:
        wait_until(lambda: running.process.ended())
    assert "ended with 0" in running.process.ended()


def test_it_does_not_outlive_who_started_it(double: EtcdDouble) -> None:
    """The parent is killed without a word: the pipe that it held closes, and the probe ends."""
    words = settings_for(double, "etcd-read").argv()
    script = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'rackbox.probes.runner', *sys.argv[1:]], stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, *words], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    history = double.directory / "history.jsonl"
    wait_until(lambda: history.exists() and load_history(history).first("attempt") is not None)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: load_history(history).first("probe-end") is not None)
    wait_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


def test_a_frozen_probe_shows_the_gap(double: EtcdDouble) -> None:
    with Running(double, "etcd-read") as running:
        os.kill(running.process.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(running.process.pid, signal.SIGCONT)
        time.sleep(0.2)
    attempts = running.history.attempts("etcd-read")
    gaps = [b.start - a.start for a, b in pairwise(attempts)]
    assert max(gaps) > 0.4, "slots that were slept through are skipped, not made up"
    assert running.only("probe-end").number("skipped") >= 15
    assert max(attempt.lateness for attempt in attempts) > 0.3


def test_a_bug_in_a_probe_is_no_outage(double: EtcdDouble, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").unlink()
    with Running(double, "etcd-read") as running:
        wait_until(lambda: running.process.ended())
    assert "ended with 1" in running.process.ended()
    assert "FileNotFoundError" in running.process.ended()


# --- without a process


ENDPOINTS = (
    EtcdEndpoint("192.168.4.20", 2379, NAME, "a", "b", "c"),
    DnsEndpoint("192.168.4.254", 53, "vip.kube.demo", "192.168.4.20"),
    AddressEndpoint("192.168.4.20"),
    GuestEndpoint("worker1", ("ssh", "-T", "worker1"), "/mnt/shared"),
)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.kind)
def test_the_command_line_goes_there_and_back(tmp_path: Path, endpoint: Endpoint) -> None:
    settings = ProbeSettings("etcd-read", tmp_path / "h", "r", endpoint, 0.05, 0.7, 9.0, 1.0)
    assert parse_settings(settings.argv()) == settings


@pytest.mark.parametrize(
    "words", [["--interval", "0"], ["--interval", "x"], ["--timeout", "-1"], ["--endpoint", "x"], ["--endpoint", "{}"]]
)
def test_bad_usage(tmp_path: Path, words: list[str]) -> None:
    settings = ProbeSettings("etcd-read", Path(), "r", ENDPOINTS[0])
    with pytest.raises(SystemExit, match="2"):
        parse_settings([*settings.argv(), *words])


def test_settings_come_from_the_lab(tmp_path: Path) -> None:
    lab = FakeLab(tmp_path)
    settings = plan_settings(lab, "etcd-write", tmp_path / "h", "run", 5, 60.0)
    secrets = lab.paths.secrets
    assert settings.endpoint == EtcdEndpoint(
        "192.168.4.20",
        2379,
        "etcd.kube.demo",
        str(secrets / "ca.pem"),
        str(secrets / "client.pem"),
        str(secrets / "client.key"),
    )
    assert settings.interval == pytest.approx(0.1)
    assert settings.timeout == 0.9


@pytest.mark.parametrize(
    ("probe", "endpoint"),
    [
        ("dns", DnsEndpoint("192.168.4.254", 53, "vip.kube.demo", "192.168.4.20")),
        ("floating-ip-arp", AddressEndpoint("192.168.4.20")),
        ("gluster-write", GuestEndpoint("worker1", ("fake-ssh", "worker1"), "/mnt/shared")),
    ],
)
def test_each_probe_is_told_what_it_is_aimed_at(tmp_path: Path, probe: str, endpoint: Endpoint) -> None:
    assert plan_settings(FakeLab(tmp_path), probe, tmp_path / "h", "run", 1, 60.0).endpoint == endpoint


def test_a_probe_may_expect_its_answers_sooner(tmp_path: Path) -> None:
    assert plan_settings(FakeLab(tmp_path), "floating-ip-arp", tmp_path / "h", "run", 1, 60.0).timeout == 0.2


@pytest.mark.parametrize(
    ("probe", "missing", "words"),
    [
        ("etcd-read", {"services": ()}, "probe etcd-read: needs the service `etcd`"),
        ("etcd-watch", {"load_balancer": None}, "needs a floating IP"),
        ("floating-ip-arp", {"load_balancer": None}, "needs a floating IP"),
        ("dns", {"load_balancer": None}, "needs a floating IP"),
        ("gluster-write", {"gluster_volume": None}, "needs a shared volume"),
        ("gluster-write", {"nodes": ()}, "needs a worker"),
    ],
)
def test_a_lab_that_cannot_have_a_probe_is_told_why(
    tmp_path: Path, probe: str, missing: dict[str, object], words: str
) -> None:
    lab = FakeLab(tmp_path)
    lab.topology = replace(lab.topology, **missing)  # type: ignore[arg-type]
    with pytest.raises(LabError, match=words):
        plan_settings(lab, probe, tmp_path / "h", "run", 1, 60.0)


def test_names_agree_with_the_registry() -> None:
    assert all(probe.name == name and probe.summary for name, probe in PROBES.items())
    assert prefix_end("/a/") == "/a0"

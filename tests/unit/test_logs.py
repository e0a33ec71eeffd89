"""The machines' journals: which lines are kept, which are the cluster noticing, and that nothing fails a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rackbox.errors import CommandFailed
from rackbox.logs import collect_logs
from rackbox.machine import Lab
from rackbox.noticing import Line, choose_lines, is_notice, read_fencing, read_journal
from rackbox.paths import LabPaths
from rackbox.recorder import load_history
from rackbox.run import Result
from rackbox.topology import Node, Topology
from tests.fakes import default_topology

# Real lines, from labs of ours.
NOTICED = [
    ("corosync", "[TOTEM ] Token has not been received in 450 ms"),
    ("corosync", "[TOTEM ] A processor failed, forming new configuration: token timed out (600ms), waiting 300ms ..."),
    ("corosync", "[KNET ] link: host: 1 link: 0 is down"),
    ("corosync", "[TOTEM ] A new membership (2.d) was formed. Members left: 1"),
    ("pacemaker", "notice: Node lb1 state is now lost"),
    ("pacemaker", "warning: Our DC node (lb1) left the cluster"),
    ("pacemaker", "notice: Result of monitor operation for haproxy on lb1: Not running"),
    ("haproxy", "Server etcd/master1 is DOWN, reason: Layer6 timeout, check duration: 313ms. 0 active and ..."),
    ("haproxy", "proxy 'etcd' has no server available!"),
    ("systemd", "haproxy.service: Main process exited, code=killed, status=9/KILL"),
    ("keepalived", "(floating) Entering MASTER STATE"),
    ("keepalived", "(floating) Entering FAULT STATE"),
]
NOT_NOTICED = [
    ("corosync", "[TOTEM ] A new membership (1.12) was formed. Members joined: 2"),
    ("corosync", "[KNET ] rx: host: 2 link: 0 is up"),
    ("pacemaker", "notice: Node lb2 state is now member"),
    ("pacemaker", "notice: Result of monitor operation for haproxy on lb1: OK"),
    ("pacemaker", "notice: Result of probe operation for floating-ip on lb1: Not running"),
    ("pacemaker", "notice: High CPU load detected: 10.670000"),
    ("haproxy", "Server etcd/master1 is UP, reason: Layer7 check passed, code: 200, check duration: 3ms."),
    ("systemd", "Started haproxy.service - HAProxy Load Balancer."),
    ("dnsmasq", "a lease"),
]


@pytest.mark.parametrize(("unit", "message"), NOTICED)
def test_these_are_the_cluster_noticing(unit: str, message: str) -> None:
    assert is_notice(unit, unit, message)


@pytest.mark.parametrize(("unit", "message"), NOT_NOTICED)
def test_these_are_not(unit: str, message: str) -> None:
    assert not is_notice(unit, unit, message)


def entry(message: object, unit: str = "corosync.service", wall: float = 1000.0, **more: object) -> str:
    fields = {"MESSAGE": message, "_SYSTEMD_UNIT": unit, "__REALTIME_TIMESTAMP": str(int(wall * 1e6)), "PRIORITY": "5"}
    return json.dumps({**fields, **more})


def test_a_journal_is_read_as_it_comes() -> None:
    text = "\n".join(
        [
            entry("[TOTEM ] Token has not been received in 450 ms", SYSLOG_IDENTIFIER="corosync"),
            entry("Main process exited", "init.scope", UNIT="haproxy.service", SYSLOG_IDENTIFIER="systemd"),
            entry("[WARNING]  (154) : Server etcd/master1 is DOWN.", "haproxy.service"),
            entry("Server etcd/master1 is DOWN", "haproxy.service"),
            entry(list(b"caf\xe9"), "rackbox-watch.service"),
            entry("session opened", "ssh.service"),
            entry("veth: Link is Down", "", _TRANSPORT="kernel"),
            entry(None),
            entry("x", PRIORITY="loud"),
            "-- cut off --",
            '{"MESSAGE": ',
            "[1]",
        ]
    )  # fmt: skip
    lines = read_journal(text)
    assert [(line.unit, line.noticed) for line in lines] == [
        ("corosync", True),
        ("systemd", True),
        ("haproxy", True),
        ("rackbox-watch", False),
        ("kernel", True),
    ]
    assert lines[2].message == "Server etcd/master1 is DOWN."
    assert lines[3].message == "caf�"


def test_etcds_json_is_put_into_words() -> None:
    told = {"level": "warn", "ts": "2026", "caller": "a.go:1", "msg": "lost leader", "term": 7}
    (line,) = read_journal(entry(json.dumps(told), "etcd.service"))
    assert (line.message, line.noticed) == ("warn: lost leader; term=7", True)
    assert read_journal(entry('{"level": ', "etcd.service"))[0].message == '{"level":'


def test_of_many_lines_the_telling_ones_stay_in_order() -> None:
    lines = [Line(float(n), "etcd", f"m{n}", 6, False) for n in range(500)]
    lines[400] = Line(400.0, "etcd", "lost leader", 6, True)
    lines[450] = Line(450.0, "etcd", "error", 3, False)
    chosen = choose_lines(lines, most=10)
    assert [line.wall for line in chosen] == [*map(float, range(8)), 400.0, 450.0]


def test_the_power_switchs_log_says_when_a_machine_was_off() -> None:
    text = (
        "2026-01-01T12:00:00.250+00:00 lb2: POST /v1/lb1/off: 200 OK off (73 ms)\n"
        "2026-01-01T12:00:01.000+00:00 lb2: GET /v1/lb1/status: 200 OK off (3 ms)\n"
        "2026-01-01T12:00:02.000+00:00 lb2: POST /v1/lb1/reboot: 500 no\n"
        "12:00:03 lb2: POST /v1/lb1/off: 200 OK off\n"
        "what\n"
    )
    ((wall, machine),) = [item for item in read_fencing(text) if item[0] > 1.7e9]
    assert machine == "lb1"
    assert wall % 1 == pytest.approx(0.25)


class JournalMachine:
    def __init__(self, node: Node, answer: Callable[[], str]) -> None:
        self.node, self._answer = node, answer

    def run(self, script: str, *, timeout: float = 10.0, check: bool = True) -> Result:
        assert "journalctl" in script
        return Result(("fake",), 0, self._answer(), "", 0.0)


class JournalLab:
    """A lab whose machines have nothing but a journal."""

    def __init__(self, root: Path, answer: Callable[[], str]) -> None:
        self.topology: Topology = default_topology()
        self.paths = LabPaths(root / "lab", root / "run", root / "runs")
        self._answer = answer

    def machine(self, name: str) -> JournalMachine:
        return JournalMachine(self.topology.node(name), self._answer)


def collect(tmp_path: Path, answer: Callable[[], str]) -> Path:
    lab: Lab = JournalLab(tmp_path, answer)  # type: ignore[assignment]
    collect_logs(lab, tmp_path / "history.jsonl", tmp_path, 1000.0)
    return tmp_path / "history.jsonl"


def test_lines_are_put_into_the_history_and_a_file_beside_it(tmp_path: Path) -> None:
    journal = f"btime 1\n1005.000000000\n{entry('Members left: 1', wall=1001.5)}\n"
    (tmp_path / "lab" / "logs").mkdir(parents=True)
    stamp = "2026-01-01T12:00:00.250+00:00"
    (tmp_path / "lab" / "logs" / "fence.log").write_text(f"{stamp} lb2: POST /v1/lb1/off: 200 OK off (73 ms)\n")
    history = load_history(collect(tmp_path, lambda: journal))
    lines = history.events("line")
    assert {record.source for record in lines} == {f"log:{node.name}" for node in default_topology().nodes}
    assert all(record.fields["noticed"] is True and record.number("wall_guest") == 1001.5 for record in lines)
    assert all(record.number("clock_error_ms") >= 0 for record in lines)
    (power,) = history.events("power", "fence")
    assert power.text("machine") == "lb1"
    assert "* corosync: Members left: 1" in (tmp_path / "journal-lb1.log").read_text()


def fails() -> str:
    raise CommandFailed("lb1: no route to host\nmore")


@pytest.mark.parametrize("answer", [fails, lambda: "", lambda: "btime 1\nno number\n", lambda: "\n\n\n"])
def test_a_machine_that_does_not_answer_fails_nothing(tmp_path: Path, answer: Callable[[], str]) -> None:
    history = load_history(collect(tmp_path, answer))
    assert history.events("line") == ()
    assert len(history.events("log-lost")) == len(default_topology().nodes)
    assert history.problems == ()

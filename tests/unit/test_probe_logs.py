"""The probe that follows a pod's log: its process against a double on loopback, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rackbox.probes.api_logs import FIRST_PORT, PORTS, format_second, plan_pod, plan_settings, read_line
from tests.logs_double import LogsDouble
from tests.unit.test_probe_kubernetes import Running


@pytest.fixture
def double(tmp_path: Path) -> Iterator[LogsDouble]:
    with LogsDouble(tmp_path) as running:
        yield running


@pytest.mark.loopback
@pytest.mark.subprocess
class TestProcesses:
    def test_a_cut_log_is_taken_up_where_it_was(self, double: LogsDouble) -> None:
        with Running(double, "api-logs") as running:
            for _ in range(3):
                double.cut_streams()
                running.more()
        states = [record.text("state") for record in running.history.events("stream")]
        assert states == ["open", *["cut", "open"] * 3]
        assert double.since[0] == ""
        assert all(second.endswith("Z") for second in double.since[1:])
        audit = running.audit
        assert audit.number("acknowledged") >= running.goods()
        assert (audit.texts("lost"), audit.texts("twice"), audit.texts("disorder")) == ((), (), ())
        assert double.removed

    @pytest.mark.parametrize(("lie", "field"), [("lose_event", "lost"), ("repeat_event", "twice")])
    def test_a_lying_log_is_found_out(self, double: LogsDouble, lie: str, field: str) -> None:
        with Running(double, "api-logs") as running:
            setattr(double, lie, True)
            running.more()
        assert len(running.audit.texts(field)) == 1
        assert not double.removed, "what is wrong stays, for whoever wants to look"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"2026-11-22T13:00:01.000000005Z [INFO] tick-00000007.", ("tick-00000007", 1795352401000000005)),
        (b"2026-11-22T13:00:01.5Z [INFO] tick-00000007.", ("tick-00000007", 1795352401500000000)),
        (b"2026-11-22T13:00:01Z [INFO] tick-00000007.", ("tick-00000007", 1795352401000000000)),
        (b"2026-11-22T13:00:01.000000005Z [INFO] ready.", None),
        (b"2026-11-22T13:00:01.000000005Z CoreDNS-1.14.0", None),
        (b"rpc error: container not found", None),
    ],
)
def test_lines_are_read(line: bytes, found: tuple[str, int] | None) -> None:
    assert read_line(line) == found


def test_a_stream_is_taken_up_from_a_whole_second() -> None:
    assert format_second(1795352401999999999) == "2026-11-22T13:00:01Z"


def test_the_pod_has_its_worker_s_address_and_a_port_that_nobody_is_given() -> None:
    pod = plan_pod("registry.example/coredns:v1")["spec"]
    assert pod["hostNetwork"] is True
    assert "tolerations" not in pod, "on a worker"
    assert plan_settings(20001)["data"]["probe"].startswith(".:20001 {")
    assert FIRST_PORT + PORTS <= 30000, "below the services' ports"

"""The probes of the Kubernetes API: their processes against a double of it on loopback that lies, cuts and forgets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rackbox.probes import ProbeSettings
from rackbox.probes.api_control import plan_deployment as plan_control
from rackbox.probes.endpoints import ApiEndpoint, parse_endpoint, plan_endpoint, serialise_endpoint
from rackbox.probes.kubernetes_api import name_run
from rackbox.probes.service_http import GIVE_UP_SECONDS, plan_deployment
from tests.api_double import ApiDouble
from tests.fakes import cluster_topology
from tests.probing import RunningProbe
from tests.tls_double import NAME


@pytest.fixture
def double(tmp_path: Path) -> Iterator[ApiDouble]:
    with ApiDouble(tmp_path) as running:
        yield running


class Running(RunningProbe):
    def __init__(self, double: ApiDouble, probe: str) -> None:
        here = double.directory
        files = [str(here / name) for name in ("ca.pem", "client.pem", "client.key")]
        endpoint = ApiEndpoint("127.0.0.1", double.port, NAME, *files)
        times = {"interval": 0.05, "timeout": 2.0, "max_seconds": 20.0, "audit_seconds": 3.0}
        settings = ProbeSettings(probe, here / "history.jsonl", "20260101T000000-x-1", endpoint, **times)
        super().__init__(settings, here)


@pytest.mark.loopback
@pytest.mark.subprocess
class TestProcesses:
    def test_reads(self, double: ApiDouble) -> None:
        with Running(double, "api-read") as running:
            pass
        assert all(attempt.good for attempt in running.history.attempts("api-read"))

    def test_writes_are_read_back_and_taken_away(self, double: ApiDouble) -> None:
        with Running(double, "api-write") as running:
            pass
        assert running.audit.number("acknowledged") == running.goods()
        assert (running.audit.texts("lost"), running.audit.texts("twice")) == ((), ())
        assert double.maps == {}

    @pytest.mark.parametrize(("lie", "field"), [("forget", "lost"), ("repeat", "twice")])
    def test_a_lie_about_a_write_is_found_out(self, double: ApiDouble, lie: str, field: str) -> None:
        with Running(double, "api-write") as running:
            setattr(double, lie, True)
            running.more()
        assert len(running.audit.texts(field)) == 1
        assert double.maps != {}, "what is wrong stays, for whoever wants to look"

    def test_a_cut_watch_is_taken_up_where_it_was(self, double: ApiDouble) -> None:
        with Running(double, "api-watch") as running:
            for _ in range(3):
                double.cut_streams()
                running.more()
        states = [record.text("state") for record in running.history.events("stream")]
        assert states == ["open", *["cut", "open"] * 3]
        assert double.watched_from[0] == 1000
        assert double.watched_from == sorted(set(double.watched_from)), "each from the last that was seen"
        audit = running.audit
        assert audit.number("acknowledged") == running.goods()
        assert (audit.texts("lost"), audit.texts("twice"), audit.texts("disorder")) == ((), (), ())
        assert double.maps == {}

    @pytest.mark.parametrize(("lie", "field"), [("lose_event", "lost"), ("repeat_event", "twice")])
    def test_a_lying_watch_is_found_out(self, double: ApiDouble, lie: str, field: str) -> None:
        with Running(double, "api-watch") as running:
            setattr(double, lie, True)
            running.more()
        assert len(running.audit.texts(field)) == 1

    def test_a_revision_that_is_forgotten_is_begun_anew(self, double: ApiDouble) -> None:
        with Running(double, "api-watch") as running:
            double.forget_past = True
            double.cut_streams()
            running.more()
        reasons = [record.text("reason") for record in running.history.events("stream")]
        assert any("too old resource version" in reason for reason in reasons)


def test_a_run_is_a_name_that_kubernetes_takes() -> None:
    name = name_run("20261122T065500-api-master-powered-off-1-abcdef-writes")
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,40}[a-z0-9]", name)
    assert name != name_run("20261122T065500-api-master-powered-off-1-abcdef-ticks")


def test_where_a_cluster_s_probes_are_aimed(tmp_path: Path) -> None:
    endpoint = plan_endpoint(cluster_topology(), "kubernetes", tmp_path, lambda name: ())
    assert isinstance(endpoint, ApiEndpoint)
    assert (endpoint.address, endpoint.port, endpoint.server_name) == ("192.168.4.20", 6443, "api.kube.demo")
    assert endpoint.certificate == str(tmp_path / "kubernetes/admin.pem")
    assert parse_endpoint(serialise_endpoint(endpoint)) == endpoint


def test_what_is_made_for_the_probes() -> None:
    pod = plan_deployment("registry.example/coredns:v1")["spec"]["template"]["spec"]
    assert {item["tolerationSeconds"] for item in pod["tolerations"]} == {GIVE_UP_SECONDS}
    assert not any("control-plane" in item["key"] for item in pod["tolerations"]), "on workers alone"
    assert plan_control()["spec"]["replicas"] == 0
    json.dumps([pod, plan_control()])

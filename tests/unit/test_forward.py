"""The forwarder's words on its command line, and which forwarders a lab has."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rackbox import forwarding
from rackbox.forward import Forward, parse_forward
from rackbox.forwarding import is_forwarder, plan_forwards, read_arguments, read_forwards, start_forwarders
from rackbox.lab import LiveLab
from rackbox.paths import LabPaths
from tests.rendering import shipped


@pytest.mark.parametrize(
    "forward",
    [
        Forward("etcd", 12379, "192.168.4.20", 2379),
        Forward("a-b", 0, "10.0.0.1", 1),
        Forward("stats", 65535, "fd00::1", 65535),
    ],
)
def test_an_argument_reads_back_as_it_was(forward: Forward) -> None:
    assert parse_forward(forward.argument) == forward


def test_an_argument_by_hand() -> None:
    assert parse_forward("etcd=12379=192.168.4.20:2379") == Forward("etcd", 12379, "192.168.4.20", 2379)


@pytest.mark.parametrize("text", ["", "etcd", "etcd=1", "etcd=x=1.2.3.4:5", "etcd=1=1.2.3.4", "a=1=b:2=3"])
def test_a_word_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_forward(text)


def test_each_service_with_a_host_port_and_the_stats_page() -> None:
    topology = shipped("default")
    assert plan_forwards(topology) == [
        Forward("etcd", 12379, "192.168.4.20", 2379),
        Forward("stats", topology.load_balancer.stats_port + 10000, "192.168.4.20", topology.load_balancer.stats_port)
        if topology.load_balancer
        else None,
    ]


def test_the_stats_page_s_port_is_a_port() -> None:
    from dataclasses import replace

    topology = shipped("default")
    assert topology.load_balancer is not None
    high = replace(topology, load_balancer=replace(topology.load_balancer, stats_port=60000))
    assert plan_forwards(high)[-1] == Forward("stats", 0, "192.168.4.20", 60000), "0: any that is free"


def test_no_balancer_no_forwarders() -> None:
    from dataclasses import replace

    assert plan_forwards(replace(shipped("default"), load_balancer=None)) == []


def lab(tmp_path: Path) -> LiveLab:
    paths = LabPaths(tmp_path / "lab", tmp_path / "run", tmp_path / "runs")
    return cast(LiveLab, SimpleNamespace(paths=paths))


def test_what_was_opened_is_read(tmp_path: Path) -> None:
    assert read_forwards(lab(tmp_path)) == {}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "forwards.json").write_text(json.dumps({"etcd": 4}))
    assert read_forwards(lab(tmp_path)) == {"etcd": 4}


@pytest.mark.parametrize(
    ("command", "is_one"),
    [
        (["/v/python", "-m", "rackbox.forward", "/run/netns/rackbox-a", "/run/r"], True),
        (["/v/python", "-m", "rackbox.forward", "/run/netns/rackbox-ab", "/run/r"], False),
        (["vim", "/run/netns/rackbox-a"], False),
        ([], False),
        (None, False),
    ],
)
def test_a_pid_is_a_lab_s_forwarder_only_if_its_command_says_so(tmp_path: Path, command: Any, is_one: bool) -> None:
    """Pids are given again: after a reboot, a remembered one may be anybody's, or another lab's forwarder."""
    if command is not None:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in command))
    assert is_forwarder(7, "/run/netns/rackbox-a", proc=tmp_path) is is_one


def test_what_a_forwarder_was_told_stands_in_its_command(tmp_path: Path) -> None:
    words = ["/v/python", "-m", "rackbox.forward", "/run/netns/rackbox-a", "/a=b/forwards.json", "etcd=1=10.0.0.1:2"]
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    assert read_arguments(7, "/run/netns/rackbox-a", tmp_path) == {"etcd=1=10.0.0.1:2"}
    assert read_arguments(7, "/run/netns/rackbox-b", tmp_path) == set()
    assert read_arguments(8, "/run/netns/rackbox-a", tmp_path) == set()


@pytest.mark.parametrize(("lacking", "pid"), [(0, 7), (1, 9)])
def test_forwarders_that_lead_elsewhere_are_made_anew(
    lacking: int, pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that has come into the file, or with a bundle, has its port with the next `up`."""
    topology = shipped("default")
    provider = SimpleNamespace(client_namespace=lambda topology: tmp_path / "netns")
    paths = LabPaths(tmp_path / "lab", tmp_path / "run", tmp_path / "runs")
    running: Any = SimpleNamespace(topology=topology, provider=provider, paths=paths)
    told = {forward.argument for forward in plan_forwards(topology)[lacking:]}
    ended: list[int] = []
    monkeypatch.setattr(forwarding, "read_arguments", lambda *_: told)
    monkeypatch.setattr(forwarding, "_end", lambda pid, _: ended.append(pid))
    monkeypatch.setattr(forwarding, "start_background", lambda *_, **__: 9)
    assert start_forwarders(running, 7) == pid
    assert ended == ([7] if lacking else [])

"""What the cluster is asked when machines come and go: each question ends in time, and is asked again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rackbox import cluster
from rackbox.cluster import APART, REQUEST, drain, forget_strangers, uncordon

NODES = {"items": [{"metadata": {"name": "worker1", "labels": {APART: ""}}, "spec": {"unschedulable": True}}]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of every call of kubectl. Each first change fails, as it does while the floating IP moves."""
    calls: list[list[str]] = []

    def run(argv: Sequence[str], **_: Any) -> Any:
        words = list(argv[3:])
        failed = words[0] not in ("get", "drain") and words not in calls
        calls.append(words)
        return SimpleNamespace(ok=not failed, stdout=json.dumps(NODES), stderr="refused", returncode=int(failed))

    release = SimpleNamespace(directory=Path("/srv/bundle"))
    monkeypatch.setattr(cluster, "run", run)
    monkeypatch.setattr(cluster, "require_cluster", lambda _: release)
    return calls


LAB: Any = SimpleNamespace(
    client_argv=list, provider=SimpleNamespace(patience=1.0), paths=SimpleNamespace(root=Path("/srv/lab"))
)


def test_a_node_takes_pods_and_packets_again(asked: list[list[str]]) -> None:
    uncordon(LAB, "worker1")
    changes = [words[0] for words in asked if words[0] != "get"]
    assert changes == ["uncordon", "uncordon", "label", "uncordon", "label"], "what failed is tried again"
    assert all(REQUEST in words for words in asked)


def test_who_is_gone_is_forgotten(asked: list[list[str]]) -> None:
    assert forget_strangers(LAB, ["worker1"]) == []
    assert forget_strangers(LAB, ["worker2"]) == ["worker1"]
    assert [words[:3] for words in asked if words[0] == "delete"] == [["delete", "node", "worker1"]] * 2


def test_whom_the_cluster_does_not_know_is_not_drained(asked: list[list[str]]) -> None:
    drain(LAB, "worker2")
    assert [words[0] for words in asked] == ["get"]
    drain(LAB, "worker1")
    assert [words[0] for words in asked] == ["get", "get", "label", "drain"]

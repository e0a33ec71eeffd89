"""The renewal's order and its figures, from data alone."""

from __future__ import annotations

import json
from collections.abc import Collection

import pytest

from rackbox.history import Attempt, JsonValue, Record, attempt_record, parse_history, serialise_record
from rackbox.load import load_topology
from rackbox.paths import PROJECT
from rackbox.renewal import (
    compare_boxes,
    count_failed_again,
    describe_figures,
    measure_renewal,
    next_machine,
    renewal_json,
)

TOPOLOGY = load_topology(PROJECT / "config" / "default.yaml")
NAMES = [node.name for node in TOPOLOGY.nodes]


def test_the_order_is_safe() -> None:
    """Holder and leader move while machines are replaced, as they do."""
    waiting, holder, leader, order = list(NAMES), "lb1", "master2", []
    while node := next_machine(TOPOLOGY, waiting, holder, leader):
        order.append(node.name)
        waiting.remove(node.name)
        holder = "lb2" if node.name == "lb2" or node.name == "lb1" else holder
        leader = "master1" if node.name == leader else leader
    lbs, masters, gluster, workers = order[:2], order[2:5], order[5:8], order[8:10]
    assert lbs == ["lb2", "lb1"]
    assert masters == ["master1", "master3", "master2"]
    assert gluster == ["gluster1", "gluster2", "gluster3"]
    assert workers == ["worker1", "worker2"]
    assert order[10:] == ["gateway"]


def test_older_boxes_are_told_by_version() -> None:
    versions = dict.fromkeys(NAMES, "2") | {"lb1": "1", "gateway": "0"}
    boxes = compare_boxes(TOPOLOGY, versions, "2")
    assert boxes.document == {"current": "2", "machines": versions, "older": ["gateway", "lb1"]}
    assert boxes.lines[1:] == ["  box 0: gateway", "  box 1: lb1"]
    assert compare_boxes(TOPOLOGY, dict.fromkeys(NAMES, "2"), "2").lines == []
    assert compare_boxes(TOPOLOGY, versions, None).older == ()


def attempt(seq: int, start: float, end: float, good: bool, probe: str = "etcd-read") -> Attempt:
    return Attempt(probe, seq, start, start, end, "ok" if good else "timeout")


def test_a_retry_is_the_first_attempt_after_the_failed_one_has_ended() -> None:
    def count(*ends: tuple[float, float, bool]) -> int:
        return count_failed_again([attempt(n, *end) for n, end in enumerate(ends)], 0.0)

    assert count((0, 0.9, False), (0.1, 0.2, False), (0.3, 0.4, True), (1, 1.1, True)) == 0
    assert count((0, 0.9, False), (0.5, 1.4, False), (1, 1.9, False), (2, 2.1, True)) == 1
    assert count((0, 0.9, False)) == 0, "nobody tried again: not known, and told as still failing"


def history(lost: list[str] | None, bad: Collection[int] = ()) -> str:
    records = [Record(0.0, 0.0, "test", "header", {}), Record(1.0, 0.0, "test", "renew-start", {"machine": "lb2"})]
    for probe in ("etcd-read", "etcd-write"):
        records.append(Record(0.0, 0.0, f"probe:{probe}", "probe-start", {"interval_ms": 100}))
        records += [attempt_record(attempt(n, n * 0.1, n * 0.1 + 0.01, n not in bad, probe), 0.0) for n in range(100)]
    if lost is not None:
        fields: dict[str, JsonValue] = {"acknowledged": 90, "stored": 90, "lost": lost, "twice": []}
        records.append(Record(11.0, 0.0, "probe:etcd-write", "probe-audit", fields))
    return "".join(serialise_record(record) for record in records)


@pytest.mark.parametrize(
    ("lost", "bad", "verdict"),
    [([], set(), "held"), ([], {50}, "held"), ([], {50, 51}, "over"), (["k"], set(), "over"), (None, set(), "unknown"),
     ([], {99}, "unknown")],
)  # fmt: skip
def test_the_verdict(lost: list[str] | None, bad: set[int], verdict: str) -> None:
    figures = measure_renewal(parse_history(history(lost, bad)), ["etcd-read", "etcd-write"])
    assert figures.verdict == verdict
    assert describe_figures(figures)[-1] == f"renewal: {verdict}"
    document = renewal_json(figures, ["lb2"], 12.34, "2")
    assert json.loads(json.dumps(document))["probes"]["etcd-read"]["failed"] == len(bad)
    assert (document["writes"] is None) == (lost is None)
    assert document["failed_by_machine"] == {"lb2": 2 * len(bad)}


def test_a_write_that_was_made_twice_is_as_bad_as_one_that_is_lost() -> None:
    text = history([]).replace('"twice":[]', '"twice":["k"]').replace('"twice": []', '"twice": ["k"]')
    figures = measure_renewal(parse_history(text), ["etcd-read", "etcd-write"])
    assert (figures.twice, figures.verdict) == (1, "over")


def test_a_computer_too_busy_for_its_probes_proves_nothing_against_the_lab() -> None:
    late = [Attempt("etcd-read", n, n * 0.1, n * 0.1 + 0.7, n * 0.1 + 0.8, "timeout") for n in (50, 60)]
    text = history([], {50, 51}) + "".join(serialise_record(attempt_record(attempt, 0.0)) for attempt in late)
    figures = measure_renewal(parse_history(text), ["etcd-read", "etcd-write"])
    assert figures.verdict == "unknown"
    assert "too busy to tell" in " ".join(describe_figures(figures))


def test_nothing_begun_is_unknown() -> None:
    assert measure_renewal(parse_history(""), ["etcd-read"]).verdict == "unknown"

"""Who held the floating IP: against a simulation of balancers that take and release, fall silent and lose power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackbox.history import Attempt, History, Record
from rackbox.holding import Span, merge, overlaps, read_arp, read_holding
from tests.stories import address, record

MACHINES = ("lb1", "lb2", "lb3")
STEP = 0.1

events = st.lists(
    st.tuples(st.sampled_from(MACHINES), st.sampled_from(["take", "release", "silent", "off"])), max_size=40
)


def story(steps: Sequence[tuple[str, str]]) -> tuple[list[Record], list[set[str]]]:
    """The watchers' records for a sequence of happenings, one each 0.1 s, and who really held it in each step."""
    holders: set[str] = {"lb1"}
    records = [record(0.0, "header"), *(address(0.0, name, name in holders) for name in MACHINES)]
    truth: list[set[str]] = []
    for number, (name, what) in enumerate(steps, start=1):
        t = number * STEP
        truth.append(set(holders))
        if what == "take":
            holders.add(name)
            records.append(address(t, name, True))
        elif what == "release":
            holders.discard(name)
            records.append(address(t, name, False))
        elif what == "silent":
            records.append(record(t, "watch-lost", f"watch:{name}", reason="silent"))
        else:
            holders.discard(name)
            records.append(record(t, "power", "fence", machine=name, on=False))
    truth.append(set(holders))
    records.append(record((len(steps) + 1) * STEP, "run-end"))
    return records, truth


@settings(max_examples=200, deadline=None)
@given(events)
def test_who_holds_and_for_how_long_two_do(steps: list[tuple[str, str]]) -> None:
    records, truth = story(steps)
    holding = read_holding(History(tuple(records)))
    assert holding is not None
    for number, holders in enumerate(truth):
        assert set(holding.at((number + 0.5) * STEP)) == holders, number
    double = sum(span.seconds for span in holding.double())
    assert double == pytest.approx(STEP * sum(len(holders) > 1 for holders in truth), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(events)
def test_a_move_is_an_address_on_another_machine_than_before(steps: list[tuple[str, str]]) -> None:
    records, _ = story(steps)
    holding = read_holding(History(tuple(records)))
    assert holding is not None
    assert all(move.origin != move.machine for move in holding.moves)
    assert all(a.machine == b.origin for a, b in pairwise(holding.moves))


def test_silence_is_no_release() -> None:
    steps = [("lb1", "silent"), ("lb2", "take"), ("lb2", "silent"), ("lb2", "silent"), ("lb1", "off")]
    holding = read_holding(History(tuple(story(steps)[0])))
    assert holding is not None
    assert sum(span.seconds for span in holding.double()) == pytest.approx(3 * STEP)
    assert not holding.hears("lb1", 0.35)
    assert holding.hears("lb3", 0.35)


def test_a_plug_that_the_fault_pulls_holds_nothing_from_the_pull_on() -> None:
    """The pull takes its time on a container; that time is the instrument's, not the cluster's."""
    records = [
        address(1.0, "lb1", True),
        address(1.0, "lb2", False),
        record(2.0, "inject-start", "fault"),
        address(2.1, "lb2", True),
        record(2.2, "power", "fault", machine="lb1", on=False),
        record(3.0, "run-end"),
    ]
    holding = read_holding(History(tuple(records)))
    assert holding is not None
    assert holding.double() == ()
    assert holding.spans["lb1"] == (Span(1.0, 2.0),)
    assert [(move.origin, move.machine) for move in holding.moves] == [("lb1", "lb2")]


def test_the_guest_says_when_and_the_way_here_does_not_count() -> None:
    records = [address(1.0, "lb1", False), address(2.0, "lb1", True, delay=0.3), record(3.0, "run-end")]
    holding = read_holding(History(tuple(records)))
    assert holding is not None
    assert holding.spans["lb1"][0].begin == pytest.approx(2.0)
    wrong = Record(2.0, 5.0, "watch:lb1", "address", {"held": True, "wall_guest": 900.0})
    again = read_holding(History((address(1.0, "lb1", False), wrong, record(3.0, "run-end"))))
    assert again is not None
    assert again.spans["lb1"][0].begin == 2.0


def guest_behind(records: Sequence[Record], machine: str, seconds: float) -> list[Record]:
    """The same story, told by a machine whose clock is behind."""
    return [
        replace(item, fields={**item.fields, "wall_guest": item.number("wall_guest") - seconds})
        if item.source == f"watch:{machine}"
        else item
        for item in records
    ]


@pytest.mark.parametrize("behind", [0.0, 0.545, 4.0, -2.0])
@pytest.mark.parametrize("early", [0.0, 0.3])
def test_a_guest_s_clock_may_differ(behind: float, early: float) -> None:
    """What was seen in a virtual machine: lb1's clock was half a second behind, and it seemed to have had the address
    before the other one's power was gone. With ``early`` it really had."""
    records = [
        address(1.0, "lb1", False, delay=0.01),
        address(1.0, "lb2", True, delay=0.01),
        record(5.0, "power", "fence", machine="lb2", on=False),
        address(5.3 - 2 * early, "lb1", True, delay=0.02),
        record(9.0, "run-end"),
    ]
    holding = read_holding(History(tuple(guest_behind(records, "lb1", behind))))
    assert holding is not None
    assert sum(span.seconds for span in holding.double()) == pytest.approx(max(0.0, 2 * early - 0.3), abs=0.021)


def test_a_guest_that_was_booted_meanwhile_has_another_clock() -> None:
    before = [address(1.0, "lb1", False, delay=0.01), address(2.0, "lb1", True, delay=0.01)]
    after = [address(7.0, "lb1", False, delay=0.01), address(8.0, "lb1", True, delay=0.3)]
    lost = [record(4.0, "watch-lost", "watch:lb1", reason="silent")]
    told = [*guest_behind(before, "lb1", 0.8), *lost, *guest_behind(after, "lb1", 0.2)]
    holding = read_holding(History((*told, record(9.0, "run-end"))))
    assert holding is not None
    assert [span.begin for span in holding.spans["lb1"]] == pytest.approx([2.0, 8.0], abs=0.011)


def test_no_watchers() -> None:
    assert read_holding(History((record(0.0, "header"),))) is None


# --- ARP


def asked(answers: Sequence[str]) -> list[Attempt]:
    """One attempt each 0.1 s; each letter is a MAC that answered it."""
    return [
        Attempt("floating-ip-arp", n, n * 0.1, n * 0.1, n * 0.1 + 0.01, "ok" if macs else "timeout", " ".join(macs))
        for n, macs in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "double"),
    [
        (["a", "a", "a"], 0.0),
        (["a", "", "b", "b"], 0.0),
        (["a", "ab", "ab", "b"], 0.2),
        (["a", "b", "a", "b", "b"], 0.2),
        (["a", "b", "b", "a", "a"], 0.2),
        (["a", *"b" * 20, "a"], 0.0),
        (["", "", ""], 0.0),
        (["ab"], 0.01),
    ],
)
def test_two_that_answer(answers: list[str], double: float) -> None:
    found = read_arp(asked(answers))
    assert found is not None
    assert sum(span.seconds for span in found.double) == pytest.approx(double)


def test_nobody_asked() -> None:
    assert read_arp([]) is None


# --- spans


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda p: Span(p[0], p[0] + p[1])), max_size=12)


@settings(deadline=None)
@given(spans, st.integers(0, 60), st.integers(0, 60))
def test_overlaps_are_where_two_are(found: list[Span], begin: int, end: int) -> None:
    both = overlaps(found, begin, end)
    for second in range(80):
        middle = second + 0.5
        two = sum(span.begin <= middle < span.end for span in found) > 1 and begin <= middle < end
        assert any(span.begin <= middle < span.end for span in both) == two


@settings(deadline=None)
@given(spans)
def test_merged_spans_are_apart_and_cover_the_same(found: list[Span]) -> None:
    merged = merge(found)
    assert all(a.end < b.begin for a, b in pairwise(merged))
    for second in range(80):
        middle = second + 0.5
        assert any(s.begin <= middle < s.end for s in merged) == any(s.begin <= middle < s.end for s in found)

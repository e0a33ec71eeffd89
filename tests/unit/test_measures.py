"""The figures of a run, from histories written by hand; and what is promised of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackbox.history import Attempt, History, Record
from rackbox.measures import FIGURES, Figure, failed_after_retry, summarise
from rackbox.promises import LIMITS, check_limits
from rackbox.scenarios import base
from rackbox.verdict import RunVerdict, judge_run
from tests.stories import INJECTED, MACS, address, full_story, line, record
from tests.unit.test_verdict import judged as judge_old
from tests.unit.test_verdict import story as old_story


def judged(history: History) -> RunVerdict:
    return judge_run(history, "run")


def with_(history: History, *more: Record) -> History:
    return History((*history.records, *more))


def without(history: History, *events: str) -> History:
    return History(tuple(r for r in history.records if r.event not in events))


def test_a_run_with_everything_has_every_figure() -> None:
    run = judged(full_story(0.4))
    assert (run.verdict, run.reasons) == ("held", ())
    assert [figure.name for figure in run.figures] == list(FIGURES)
    figures = {figure.name: figure.value for figure in run.figures}
    assert figures["detection_ms"] == pytest.approx(190)
    assert figures["takeover_ms"] == pytest.approx(290, abs=25)  # the stalled requests after it count
    assert figures["double_holder_ms"] == figures["double_answer_ms"] == 0
    assert (figures["moves"], figures["flaps"], figures["moves_unprompted"]) == (1, 0, 0)
    assert figures["neighbour_ms"] == pytest.approx(20, abs=0.01)
    assert figures["redundant_ms"] == pytest.approx(5200)
    assert figures["links_given_up"] == 0
    assert figures["slow_ms"] == pytest.approx(120)
    assert figures["cuts"] is None  # no stream was watched
    assert all(f.resolution is None or f.resolution >= 0 for f in run.figures)


@pytest.mark.parametrize(("overlap", "counted"), [(0.003, 0), (0.012, 12)])
def test_watchers_whose_turns_came_the_wrong_way_round_prove_no_double_holder(overlap: float, counted: float) -> None:
    run = judged(full_story(0.4, split=overlap))
    assert run.figure("double_holder_ms") == pytest.approx(counted, abs=0.01)


def test_a_run_from_before_there_were_watchers_and_logs() -> None:
    """Its verdict is what it was; it has the figures that probes alone can give."""
    run = judge_old(old_story())
    assert run.verdict == "held"
    assert {f.name for f in run.figures if f.value is not None} == {
        "failed",
        "failed_after_retry",
        "slow",
        "slow_ms",
        "second_outage_ms",
        "second_outage_healing_ms",
        "redundant_ms",
    }


@pytest.mark.parametrize(
    ("more", "after", "by"),
    [
        ((), 190, "lb2: corosync: [TOTEM ] Token has not been received"),
        ((line(INJECTED + 0.1, "gateway", "corosync-qnetd", "gone", True),), 100, "gateway: corosync-qnetd: gone"),
        ((line(INJECTED + 0.1, "lb2", "haproxy", "hello", False),), 190, "lb2: corosync"),
        ((line(INJECTED - 0.1, "lb2", "corosync", "earlier", True),), 190, "lb2: corosync"),
        ((address(INJECTED + 0.05, "lb2", True),), 50, "lb2 took the floating IP"),
        ((record(INJECTED + 0.07, "power", "fence", machine="lb1", on=False),), 70, "lb1 was fenced"),
    ],
)
def test_the_first_sign_is_the_detection(more: tuple[Record, ...], after: float, by: str) -> None:
    run = judged(with_(full_story(0.4), *more))
    detection = next(figure for figure in run.figures if figure.name == "detection_ms")
    assert detection.value == pytest.approx(after)
    assert detection.detail.startswith(by)


def test_a_link_that_is_given_up_though_packets_pass_is_a_false_alarm() -> None:
    down = "[KNET ] link: host: 2 link: 0 is down"
    history = with_(
        full_story(0.4, limits={"links_given_up": 0}),
        line(INJECTED - 0.1, "lb1", "corosync", down, True),
        line(INJECTED + 0.1, "lb1", "corosync", down, True),
        line(INJECTED + 0.2, "lb1", "corosync", "[KNET ] link: host: 2 link: 0 is up", False),
        line(INJECTED + 900, "lb1", "corosync", down, True),
    )
    assert judged(history).figure("links_given_up") == 1
    assert "links given up 1; limit 0" in judged(history).reasons
    assert judged(full_story(0.4, limits={"links_given_up": 0})).verdict == "held"
    lost = judged(without(full_story(0.4, limits={"links_given_up": 0}), "line"))
    assert lost.verdict == "unknown"
    assert "links given up: not measured (no logs)" in lost.reasons


def test_what_the_fault_pulls_is_no_detection() -> None:
    run = judged(without(full_story(0.4), "line", "address"))
    assert run.figure("detection_ms") is None


def test_two_holders_are_told_and_a_promise_about_them_is_broken_whatever_else() -> None:
    history = full_story(0.4, split=0.3)
    run = judged(history)
    assert run.verdict == "held"
    assert "two machines held the floating IP for 300 ms" in run.notes
    assert run.figure("double_answer_ms") == pytest.approx(300, abs=50)
    promised = full_story(0.4, split=0.3, limits={"double_holder_ms": 100})
    assert judged(promised).verdict == "over budget"
    assert judged(without(promised, "bite")).verdict == "over budget"
    assert judged(without(promised, "bite")).reasons[0] == "two holders 300 ms; limit 100 ms"


def test_a_second_move_breaks_the_promise_of_one() -> None:
    back = (address(100.3, "lb1", False), address(102.0, "lb1", True), address(102.0, "lb2", False))
    history = with_(without(full_story(0.4), "power"), *back)
    assert judged(history).figure("flaps") == 1
    assert "moves 2; limit 1" in judged(history).reasons


def test_a_promise_that_could_not_be_watched_is_unknown() -> None:
    run = judged(without(full_story(0.4, limits={"double_holder_ms": 0, "cuts": 0}), "address", "watch-lost"))
    assert run.verdict == "unknown"
    assert "two holders: not measured (no watchers)" in run.reasons
    assert "streams cut: not measured (no stream was watched)" in run.reasons


def test_a_limit_of_failed_requests_needs_a_probe_that_is_believed() -> None:
    assert judged(full_story(0.4, limits={"failed": 5})).verdict == "over budget"
    assert judged(without(full_story(0.4, limits={"failed": 5}), "bite")).verdict == "unknown"


def test_an_audit_that_found_something_keeps_a_run_from_passing() -> None:
    run = judged(with_(full_story(0.4), record(105.5, "audit", phase="healed", problems=["lb2: a rule was left"])))
    assert (run.verdict, run.reasons) == ("unknown", ("after healing: lb2: a rule was left",))


def test_watchers_that_contradict_the_machines_are_told() -> None:
    history = with_(full_story(0.4), record(103.55, "holders", phase="recovered", holders=["lb1"]))
    run = judged(history)
    assert run.verdict == "unknown"
    assert any("lb1 when asked; lb2 by the watchers" in reason or "holders" in reason for reason in run.reasons)


def test_a_move_before_the_fault_is_told() -> None:
    history = with_(full_story(0.4), address(98.5, "lb2", True), address(98.6, "lb2", False))
    run = judged(history)
    assert run.figure("moves_unprompted") == 1
    assert any("before there was a fault" in reason for reason in run.reasons)


def test_an_arp_table_that_did_not_follow_is_told() -> None:
    stuck = [r for r in full_story(0.4).records if not (r.event == "neighbour" and r.fields["mac"] == MACS["lb2"])]
    run = judged(History(tuple(stuck)))
    assert run.figure("neighbour_ms") is None
    assert any(note.startswith("the client's ARP table did not follow") for note in run.notes)


def test_a_silent_watcher_is_a_note() -> None:
    history = full_story(0.4, watchers=["lb1", "lb2", "lb9"])
    assert "no word from the watcher on lb9" in judged(history).notes


@pytest.mark.parametrize("limits", [{"failed": "x"}, ["failed"], {"failed": True}])
def test_limits_that_are_none_damage_the_history(limits: object) -> None:
    run = judged(full_story(0.4, limits=limits))  # type: ignore[arg-type]
    assert run.verdict == "unknown"
    assert run.reasons[0].startswith("history is damaged")


def test_every_limit_of_the_scenarios_is_known() -> None:
    assert set(base.LIMITS) <= set(LIMITS)
    assert check_limits({"speed": 1}, ()).unclear == ("limit speed: not known to this version",)


@pytest.mark.parametrize(
    ("value", "resolution", "limit", "field"),
    [(50, 30, 100, ""), (80, 30, 100, "unclear"), (101, 30, 100, "over"), (0, 30, 0, ""), (100, 0, 100, "")],
)
def test_a_limit_within_the_resolution_is_unclear(value: float, resolution: float, limit: float, field: str) -> None:
    figures = [Figure("second_outage_ms", value, resolution), Figure("second_outage_healing_ms", 0.0, resolution)]
    checks = check_limits({"second_outage_ms": limit}, figures)
    assert [name for name in ("broken", "over", "unclear") if getattr(checks, name)] == ([field] if field else [])


# --- the retry


def simple_retry(attempts: list[Attempt]) -> int:
    """The definition, word for word."""
    count = 0
    for attempt in attempts:
        if not attempt.good:
            later = [a for a in attempts if a.start >= attempt.end and a is not attempt]
            count += bool(later) and not min(later, key=lambda a: (a.start, attempts.index(a))).good
    return count


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=40))
def test_failed_after_one_retry(rows: list[tuple[int, int, bool]]) -> None:
    attempts, start = [], 0
    for seq, (gap, took, good) in enumerate(rows):
        start += gap
        attempts.append(Attempt("p", seq, start, start, start + took + 1, "ok" if good else "fail"))
    assert failed_after_retry(attempts) == simple_retry(attempts)


def test_repeats_give_percentiles() -> None:
    runs = [judged(full_story(0.3 + 0.01 * n)) for n in range(10)]
    summary = next(s for s in summarise([run.figures for run in runs]) if s.name == "takeover_ms")
    assert summary.count == 10
    assert summary.p50 <= summary.p95 <= summary.worst
    assert summarise([replace(run, figures=()).figures for run in runs]) == ()

"""Outage windows: what is reported lies within the stated resolution of what was, in both directions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackbox.history import Attempt
from rackbox.outage import baseline, baseline_seconds, draw_timeline, find_starvation, measure_outage, percentile

INTERVAL = 0.02


def attempts_at(
    starts: Sequence[float], drops: Sequence[tuple[float, float]], seconds: float = 0.0, hang: float = 0.0
) -> list[Attempt]:
    """Attempts that touch the service for ``seconds`` from their start on; one in a drop fails, after ``hang``."""
    found = []
    for seq, start in enumerate(starts):
        hit = any(start + seconds >= begin and start < end for begin, end in drops)
        ends = start + (max(seconds, hang) if hit else seconds)
        found.append(Attempt("p", seq, start, start, ends, "fail" if hit else "ok"))
    return found


def schedule(begin: float, end: float, phase: float = 0.0, interval: float = INTERVAL) -> list[float]:
    return [begin + phase + n * interval for n in range(int((end - begin) / interval))]


@settings(max_examples=300)
@given(
    phase=st.floats(0, INTERVAL),
    length=st.floats(0, 5.0),
    offset=st.floats(0, 0.1),
    latency=st.floats(0, 0.015),
    hang=st.floats(0, 1.0),
)
def test_a_known_drop_is_right_within_the_resolution(
    phase: float, length: float, offset: float, latency: float, hang: float
) -> None:
    injected = 100.0
    drop = (injected + offset, injected + offset + length)
    attempts = attempts_at(schedule(98.0, 108.0, phase), [drop] if length else [], latency, hang)
    outage = measure_outage(attempts, injected, INTERVAL)
    assert abs(outage.seconds - length) <= outage.resolution + 1e-9
    assert outage.resolution <= INTERVAL + latency + 1e-6
    assert outage.recovered
    assert len(outage.windows) <= 1


@settings(max_examples=200)
@given(st.lists(st.floats(0.005, 0.06), min_size=100, max_size=200), st.floats(0.1, 1.0), st.floats(0.0, 1.0))
def test_uneven_schedules_state_a_wider_resolution(gaps: list[float], begin: float, length: float) -> None:
    starts = [0.0]
    for gap in gaps:
        starts.append(starts[-1] + gap)
    drop = (begin, begin + length)
    outage = measure_outage(attempts_at(starts, [drop]), 0.1, INTERVAL)
    if outage.recovered and starts[-1] > drop[1]:
        assert abs(outage.seconds - length) <= outage.resolution + 1e-9


@settings(max_examples=200)
@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_windows_are_the_runs_of_failures(goods: list[bool]) -> None:
    attempts = [Attempt("p", n, n * 0.1, n * 0.1, n * 0.1, "ok" if good else "fail") for n, good in enumerate(goods)]
    outage = measure_outage(attempts, 0.0, 0.1)
    runs = [run for run in "".join("x."[good] for good in goods).split(".") if run]
    assert [window.failed for window in outage.windows] == [len(run) for run in runs]
    assert outage.failed == goods.count(False)
    assert outage.recovered == goods[-1]
    assert all(a.end is not None and a.end <= b.start for a, b in zip(outage.windows, outage.windows[1:], strict=False))
    main = outage.main
    assert main is None or all(window.seconds <= main.seconds for window in outage.windows)


def test_what_failed_before_the_fault_does_not_count() -> None:
    attempts = attempts_at(schedule(0.0, 4.0), [(0.5, 0.8), (2.0, 2.3)])
    outage = measure_outage(attempts, 1.5, INTERVAL)
    assert len(outage.windows) == 1
    assert outage.seconds == pytest.approx(0.3, abs=INTERVAL)


def test_a_request_cut_off_by_the_fault_counts() -> None:
    attempts = [
        Attempt("p", 0, 0.98, 0.98, 0.985, "ok"),
        Attempt("p", 1, 0.999, 0.999, 1.002, "fail", "reset"),
        Attempt("p", 2, 1.02, 1.02, 1.025, "ok"),
    ]
    outage = measure_outage(attempts, 1.0, INTERVAL)
    assert outage.failed == 1
    assert outage.seconds == pytest.approx(0.021)


def test_a_second_outage_is_listed_after_the_main_one() -> None:
    attempts = attempts_at(schedule(0.0, 6.0), [(1.0, 2.0), (4.0, 4.1)])
    outage = measure_outage(attempts, 1.0, INTERVAL)
    assert outage.seconds == pytest.approx(1.0, abs=INTERVAL)
    assert [round(window.seconds, 1) for window in outage.later] == [0.1]
    assert outage.disturbed == pytest.approx(3.1, abs=2 * INTERVAL)


def test_never_good_again_gives_a_lower_bound() -> None:
    outage = measure_outage(attempts_at(schedule(0.0, 4.0), [(1.0, 9.0)]), 1.0, INTERVAL)
    assert not outage.recovered
    assert outage.main is not None
    assert outage.main.end is None
    assert outage.seconds == pytest.approx(3.0, abs=2 * INTERVAL)


def test_requests_that_stall_are_an_outage_without_failures() -> None:
    """A client's kernel that keeps packets while it resolves the address must not make the outage look like none."""
    attempts = [
        Attempt("p", n, n * 0.02, n * 0.02, n * 0.02 + (0.3 if 10 <= n < 20 else 0.001), "ok") for n in range(50)
    ]
    outage = measure_outage(attempts, 0.1, INTERVAL)
    assert (outage.failed, outage.slow) == (0, 10)
    assert outage.seconds == pytest.approx(0.2)
    assert outage.disturbed == pytest.approx(0.2)


@settings(max_examples=300)
@given(
    phase=st.floats(0, INTERVAL),
    length=st.floats(0.1, 0.85),
    flight=st.floats(0.001, 0.012),
)
def test_requests_kept_until_somebody_is_there_show_the_whole_outage(
    phase: float, length: float, flight: float
) -> None:
    """Nothing fails: each request that begins in the outage is answered at its end, the last after no long wait."""
    begin, end = 1.0, 1.0 + length
    attempts = [
        Attempt("p", seq, start, start, (end if begin <= start < end else start) + flight, "ok")
        for seq, start in enumerate(schedule(0.0, 3.0, phase))
    ]
    outage = measure_outage(attempts, begin, INTERVAL)
    assert outage.failed == 0
    assert len(outage.windows) == 1
    assert abs(outage.seconds - length) <= outage.resolution


def test_a_slow_service_that_answers_all_the_time_is_no_outage() -> None:
    attempts = [
        Attempt("p", n, n * 0.02, n * 0.02, n * 0.02 + (0.4 if 50 <= n < 150 else 0.005), "ok") for n in range(200)
    ]
    outage = measure_outage(attempts, 0.9, INTERVAL)
    assert outage.slow == 100
    # Only its beginning: nobody is answered until the first of the slow ones is.
    assert outage.seconds == pytest.approx(0.4, abs=outage.resolution)
    assert len(outage.windows) == 1


def test_a_stall_after_healing_began_is_not_the_faults_outage() -> None:
    attempts = attempts_at(schedule(0.0, 6.0), [(1.0, 1.2), (4.0, 4.5)])
    outage = measure_outage(attempts, 0.9, INTERVAL, healed=3.0)
    assert outage.seconds == pytest.approx(0.2, abs=INTERVAL)
    assert outage.longest == pytest.approx(0.5, abs=INTERVAL)
    assert [round(window.start) for window in outage.later] == [4]
    only_after = measure_outage(attempts, 2.0, INTERVAL, healed=3.0)
    assert (only_after.main, only_after.seconds, len(only_after.later)) == (None, 0.0, 1)


def test_a_slow_request_here_and_there_is_no_outage() -> None:
    attempts = [
        Attempt("p", n, n * 0.02, n * 0.02, n * 0.02 + (0.3 if n % 3 == 0 and n > 10 else 0.001), "ok")
        for n in range(50)
    ]
    outage = measure_outage(attempts, 0.1, INTERVAL)
    assert (outage.seconds, outage.windows) == (0.0, ())
    assert outage.slow == 13


def test_what_is_slow_in_the_calm_is_no_stall() -> None:
    attempts = [Attempt("p", n, n * 0.02, n * 0.02, n * 0.02 + 0.15, "ok") for n in range(200)]
    assert measure_outage(attempts, 2.0, INTERVAL).windows == ()


def test_nothing_at_all() -> None:
    outage = measure_outage([], 1.0, INTERVAL)
    assert (outage.seconds, outage.failed, outage.attempts, outage.windows) == (0.0, 0, 0, ())
    assert outage.resolution == INTERVAL


def test_the_baseline_is_the_last_second_before_the_fault() -> None:
    """As many of them where each is long under way."""
    for seconds in (0.005, 0.405):
        found = baseline(attempts_at(schedule(0.0, 4.0), [], seconds=seconds), 2.0, 1.0)
        assert len(found) == 50
        assert all(1.0 <= attempt.end < 2.0 for attempt in found)


# --- starvation


def test_an_even_schedule_is_not_starved() -> None:
    assert find_starvation(attempts_at(schedule(0.0, 4.0), []), 1.0, 3.0, INTERVAL) == ""


def test_a_gap_is_starvation() -> None:
    starts = [start for start in schedule(0.0, 4.0) if not 2.0 < start < 2.2]
    assert "made no attempt for 2" in find_starvation(attempts_at(starts, []), 1.0, 3.0, INTERVAL)


@pytest.mark.parametrize(("begin", "end"), [(0.0, 0.5), (3.5, 4.5)])
def test_a_gap_at_either_end_is_starvation(begin: float, end: float) -> None:
    starts = [start for start in schedule(0.0, 4.5) if not begin <= start < end]
    assert "made no attempt" in find_starvation(attempts_at(starts, []), 0.0, 4.5, INTERVAL)


def test_a_late_start_is_starvation() -> None:
    attempts = [Attempt("p", n, n * 0.02 - (0.15 if n == 30 else 0), n * 0.02, n * 0.02, "ok") for n in range(100)]
    assert "150 ms late" in find_starvation(attempts, 0.5, 1.5, INTERVAL)
    assert find_starvation(attempts, 0.7, 1.5, INTERVAL) == ""


# --- pictures and figures


def test_a_timeline_shows_the_worst_of_each_slice() -> None:
    attempts = attempts_at(schedule(0.0, 2.0), [(0.5, 0.75)], seconds=0.001)
    attempts.append(Attempt("p", 999, 1.26, 1.26, 1.5, "ok"))
    drawn = draw_timeline(attempts, 0.0, 4.0, 16)
    assert (drawn[0], drawn[2], drawn[5], drawn[-1]) == (".", "x", "s", " ")
    assert len(drawn) == 16


@pytest.mark.parametrize(
    ("values", "rank", "expected"),
    [([], 50, None), ([3.0], 50, 3.0), ([1, 2, 3, 4, 5], 50, 3), ([1, 2, 3, 4, 5], 95, 5), ([2, 1], 50, 1)],
)
def test_percentiles_are_nearest_rank(values: list[float], rank: int, expected: float | None) -> None:
    assert percentile(values, rank) == expected


def test_a_probe_that_asks_seldom_is_looked_at_for_longer() -> None:
    assert [baseline_seconds(interval) for interval in (0.02, 0.1, 0.2, 1.0, 5.0)] == [1.0, 1.0, 2.0, 4.0, 20.0]

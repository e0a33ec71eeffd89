"""Histories: there and back, cut off, damaged, and written by several at once."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackbox.errors import LabError
from rackbox.history import (
    Attempt,
    HistoryError,
    JsonValue,
    Record,
    as_attempt,
    attempt_record,
    parse_history,
    parse_record,
    serialise_record,
)
from rackbox.recorder import HistoryTail, Recorder, load_history

times = st.floats(min_value=0, max_value=1e9).map(lambda value: round(value, 6))
words = st.text(max_size=40)
values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | times | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(words.filter(lambda key: key not in ("t", "wall", "source", "event")), values, max_size=4)
records = st.builds(Record, times, times, words, words.filter(lambda event: event != "attempt"), fields)


@given(records)
def test_a_record_goes_there_and_back(record: Record) -> None:
    line = serialise_record(record)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert parse_record(line) == record


@given(st.lists(records, max_size=5), st.integers(0, 200))
def test_a_history_cut_off_anywhere_loses_at_most_its_last_line(kept: list[Record], cut: int) -> None:
    lines = [serialise_record(record) for record in kept]
    text = "".join(lines)
    history = parse_history(text[: max(0, len(text) - cut)])
    assert history.problems == ()
    assert list(history.records) == kept[: len(history.records)]
    if cut == 0:
        assert len(history.records) == len(kept)


@given(st.binary(max_size=300))
def test_no_bytes_can_make_the_parser_raise(data: bytes) -> None:
    parse_history(data.decode(errors="replace"))


def test_an_attempt_goes_there_and_back() -> None:
    attempt = Attempt("etcd-read", 7, 10.0, 10.001, 10.005, "fail", "refused")
    record = parse_record(serialise_record(attempt_record(attempt, 1.7e9)))
    assert as_attempt(record) == attempt
    assert attempt.lateness == pytest.approx(0.001)
    assert not attempt.good


GOOD = {
    "t": 2.0,
    "wall": 3.0,
    "source": "probe:x",
    "event": "attempt",
    "seq": 1,
    "scheduled": 1.0,
    "start": 1.0,
    "end": 2.0,
    "outcome": "ok",
}

DAMAGED: list[tuple[dict[str, object], str]] = [
    ({"outcome": "perhaps"}, "outcome must be one of"),
    ({"outcome": 1}, "outcome must be text"),
    ({"start": "1"}, "start must be a finite number"),
    ({"start": None}, "start must be a finite number"),
    ({"end": True}, "end must be a finite number"),
    ({"end": 0.5}, "ends before it starts"),
    ({"source": "test"}, "source must be probe:"),
    ({"t": "now"}, "t must be a finite number"),
    ({"event": None}, "event must be text"),
]


@pytest.mark.parametrize(("change", "words"), DAMAGED)
def test_damaged_attempts(change: dict[str, object], words: str) -> None:
    assert as_attempt(parse_record(json.dumps(GOOD)))
    line = json.dumps({**GOOD, **change})
    with pytest.raises(HistoryError, match=words):
        parse_record(line)
    assert len(parse_history(line + "\n").problems) == 1


@pytest.mark.parametrize("line", ["[]", "1", '"x"', "nul", '{"t":NaN,"wall":1,"source":"a","event":"b"}', "{}", "\x00"])
def test_damaged_lines_in_the_middle_are_reported(line: str) -> None:
    good = serialise_record(Record(1.0, 2.0, "test", "header", {}))
    history = parse_history(good + line + "\n" + good)
    assert len(history.records) == 2
    assert len(history.problems) == 1
    assert history.problems[0].startswith("line 2")
    assert not history.truncated


def test_fields_may_not_hide_the_record() -> None:
    with pytest.raises(ValueError, match="taken: t"):
        serialise_record(Record(1.0, 2.0, "test", "x", {"t": 3}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        serialise_record(Record(1.0, 2.0, "test", "x", {"y": float("nan")}))


def test_several_may_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"

    def write(name: str) -> None:
        with Recorder(path, name) as recorder:
            for number in range(200):
                recorder.write("note", number=number, padding="x" * 300)

    threads = [threading.Thread(target=write, args=(f"writer{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = load_history(path)
    assert history.problems == ()
    assert len(history.records) == 800
    for n in range(4):
        assert [r.fields["number"] for r in history.events("note", f"writer{n}")] == list(range(200))


def test_a_tail_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    tail = HistoryTail(path)
    assert tail.read_new() == []
    line = serialise_record(Record(1.0, 2.0, "test", "note", {}))
    path.write_text(line + line[:10])
    assert len(tail.read_new()) == 1
    assert tail.read_new() == []
    with path.open("a") as stream:
        stream.write(line[10:] + "rubbish\n" + line)
    assert len(tail.read_new()) == 2


def test_a_full_disk_is_said_as_such() -> None:
    with Recorder(Path("/dev/full"), "test") as recorder, pytest.raises(LabError, match="No space left") as caught:
        recorder.write("note")
    assert "free some space" in caught.value.hint


def test_a_directory_that_is_missing_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="No such file"):
        Recorder(tmp_path / "nowhere" / "history.jsonl", "test")


def test_a_recorder_is_of_one_source(tmp_path: Path) -> None:
    with Recorder(tmp_path / "h", "probe:a") as recorder, pytest.raises(ValueError, match="not the probe of"):
        recorder.write_attempt(Attempt("b", 1, 1.0, 1.0, 1.0, "ok"))

"""What happened in one run, as JSON lines: the types, and the way to text and back.

Probes and faults know nothing of each other; both append to the same history, and whatever is said about a run later
is computed from the history alone. Entry points: ``serialise_record``, ``parse_history``. Pure: the file is touched by
``rackbox.recorder`` only.

Every line is one JSON object with ``t`` (CLOCK_MONOTONIC seconds, one clock for all processes of a computer),
``wall`` (seconds since 1970), ``source``, ``event``, and the event's own fields beside them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

JsonValue: TypeAlias = "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
Outcome = Literal["ok", "fail", "timeout"]

SCHEMA = 1
ATTEMPT = "attempt"
PROBE_SOURCE = "probe:"
_OWN_KEYS = ("t", "wall", "source", "event")


class HistoryError(ValueError):
    """A record does not hold what its event promises. Not a user's error: the verdict turns it into *unknown*."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line. ``source`` is ``test``, ``fault`` or ``probe:<name>``."""

    t: float
    wall: float
    source: str
    event: str
    fields: Mapping[str, JsonValue]

    def number(self, key: str) -> float:
        value = self.fields.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise HistoryError(f"{self.event}: {key} must be a finite number; got {value!r}")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.fields.get(key, default)
        if not isinstance(value, str):
            raise HistoryError(f"{self.event}: {key} must be text; got {value!r}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.fields.get(key, ())
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise HistoryError(f"{self.event}: {key} must be a list; got {value!r}")
        return tuple(str(item) for item in value)

    def flag(self, key: str) -> bool:
        value = self.fields.get(key)
        if not isinstance(value, bool):
            raise HistoryError(f"{self.event}: {key} must be true or false; got {value!r}")
        return value


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of a probe, on a schedule that does not wait for answers (open loop). Times are monotonic seconds.

    ``start`` - ``scheduled`` says how late the probing computer was: a starved probe proves nothing.
    """

    probe: str
    seq: int
    scheduled: float
    start: float
    end: float
    outcome: Outcome
    detail: str = ""

    @property
    def good(self) -> bool:
        return self.outcome == "ok"

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def lateness(self) -> float:
        return self.start - self.scheduled


@dataclass(frozen=True, slots=True)
class History:
    """A parsed history. ``problems`` are lines that could not be understood; ``truncated`` says that the last line
    was cut off (a crash while writing), which harms nothing else."""

    records: tuple[Record, ...]
    problems: tuple[str, ...] = ()
    truncated: bool = False

    @property
    def header(self) -> Record | None:
        return self.first("header")

    def events(self, event: str, source: str | None = None) -> tuple[Record, ...]:
        return tuple(r for r in self.records if r.event == event and source in (None, r.source))

    def first(self, event: str, source: str | None = None) -> Record | None:
        return next((r for r in self.records if r.event == event and source in (None, r.source)), None)

    def last(self, event: str, source: str | None = None) -> Record | None:
        return next((r for r in reversed(self.records) if r.event == event and source in (None, r.source)), None)

    def attempts(self, probe: str) -> tuple[Attempt, ...]:
        """The attempts of one probe in the order in which they started."""
        found = [as_attempt(record) for record in self.events(ATTEMPT, PROBE_SOURCE + probe)]
        return tuple(sorted(found, key=lambda attempt: (attempt.start, attempt.seq)))


def as_attempt(record: Record) -> Attempt:
    """Read an ``attempt`` record; raises ``HistoryError`` when it is not a sound one."""
    outcome = record.text("outcome")
    if outcome not in get_args(Outcome):
        raise HistoryError(f"attempt: outcome must be one of {get_args(Outcome)}; got {outcome!r}")
    if not record.source.startswith(PROBE_SOURCE):
        raise HistoryError(f"attempt: source must be {PROBE_SOURCE}<name>; got {record.source!r}")
    attempt = Attempt(
        probe=record.source.removeprefix(PROBE_SOURCE),
        seq=int(record.number("seq")),
        scheduled=record.number("scheduled"),
        start=record.number("start"),
        end=record.number("end"),
        outcome=cast(Outcome, outcome),
        detail=record.text("detail", ""),
    )
    if attempt.end < attempt.start:
        raise HistoryError(f"attempt {attempt.seq}: ends before it starts")
    return attempt


def attempt_record(attempt: Attempt, wall: float) -> Record:
    """The line that a probe writes when an attempt has ended."""
    fields: dict[str, JsonValue] = {
        "seq": attempt.seq,
        "scheduled": round(attempt.scheduled, 6),
        "start": round(attempt.start, 6),
        "end": round(attempt.end, 6),
        "outcome": attempt.outcome,
    }
    if attempt.detail:
        fields["detail"] = attempt.detail
    return Record(attempt.end, wall, PROBE_SOURCE + attempt.probe, ATTEMPT, fields)


def serialise_record(record: Record) -> str:
    """One line of JSON, newline included. Raises ``ValueError`` for NaN and infinity, which are not JSON."""
    if taken := [key for key in _OWN_KEYS if key in record.fields]:
        raise ValueError(f"field names are taken: {', '.join(taken)}")
    head: dict[str, JsonValue] = {
        "t": round(record.t, 6),
        "wall": round(record.wall, 6),
        "source": record.source,
        "event": record.event,
    }
    return json.dumps({**head, **record.fields}, separators=(",", ":"), allow_nan=False) + "\n"


def parse_record(line: str) -> Record:
    """Read one line; raises ``HistoryError``."""
    try:
        data = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise HistoryError(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise HistoryError("not a JSON object")
    fields = {key: value for key, value in data.items() if key not in _OWN_KEYS}
    shell = Record(0.0, 0.0, "", "record", data)
    record = Record(shell.number("t"), shell.number("wall"), shell.text("source"), shell.text("event"), fields)
    if record.event == ATTEMPT:
        as_attempt(record)
    return record


def parse_history(text: str) -> History:
    """Read a whole history. A cut-off last line is left out and noted; any other unreadable line is a problem."""
    records: list[Record] = []
    problems: list[str] = []
    truncated = False
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip("\x00 \r"):
            if "\x00" in line:
                problems.append(f"line {number}: zero bytes")
            continue
        try:
            records.append(parse_record(line))
        except HistoryError as error:
            if number == len(lines):
                truncated = True
            else:
                problems.append(f"line {number}: {error}")
    return History(tuple(records), tuple(problems), truncated)

"""The edge of a history: appends records to the file, and follows what others append.

Several processes append to one file at the same time. Each record is one ``write(2)`` on a descriptor opened with
O_APPEND, which Linux does in one piece for a local file, so lines never mix.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from rackbox.errors import LabError
from rackbox.history import (
    PROBE_SOURCE,
    Attempt,
    History,
    HistoryError,
    JsonValue,
    Record,
    attempt_record,
    parse_history,
    parse_record,
    serialise_record,
)

Clock = Callable[[], float]


class Recorder:
    """Appends for one source. ``clock`` gives monotonic seconds, ``wall`` seconds since 1970."""

    def __init__(self, path: Path, source: str, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self.source = source
        self._clock = clock
        self._wall = wall
        self._path = path
        try:
            self._fd = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LabError(f"{path}: {error.strerror}") from error

    def write(self, event: str, /, **fields: JsonValue) -> None:
        self.append(Record(self._clock(), self._wall(), self.source, event, fields))

    def write_attempt(self, attempt: Attempt) -> None:
        if self.source != PROBE_SOURCE + attempt.probe:
            raise ValueError(f"{attempt.probe}: not the probe of {self.source}")
        self.append(attempt_record(attempt, self._wall()))

    def append(self, record: Record) -> None:
        """Raises ``LabError`` when the line could not be written whole (mostly: the disk is full)."""
        line = serialise_record(record).encode()
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise LabError(f"{self._path}: {error.strerror}", "free some space where runs are kept") from error
        if written != len(line):
            raise LabError(f"{self._path}: {written} of {len(line)} bytes written", "free some space there")

    def sync(self) -> None:
        """On disk before the verdict: a history is saved before it is judged."""
        os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HistoryTail:
    """Follows a growing history: ``read_new`` returns the whole lines that were appended since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def read_new(self) -> list[Record]:
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        records: list[Record] = []
        for line in lines:
            try:
                records.append(parse_record(line.decode(errors="replace")))
            except HistoryError:
                continue  # the verdict reads the whole file again and reports it
        return records


def load_history(path: Path) -> History:
    """Read a stored history. Raises ``FileNotFoundError``."""
    return parse_history(path.read_bytes().decode(errors="replace"))

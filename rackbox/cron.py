"""Times in crontab(5)'s five fields: which are meant, and the one before and after a moment. Pure.

Entry points: ``parse_cron``, ``CronTime.previous``, ``CronTime.next``. Names, lists, ranges and steps are understood;
as in crontab(5), when both the day of the month and that of the week are given, either will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_HORIZON = timedelta(days=366 * 9)
"""29 February comes back after eight years at most (2096 to 2104)."""


@dataclass(frozen=True, slots=True)
class CronTime:
    """The five fields as sets; ``text`` is what was written."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def next(self, moment: datetime) -> datetime | None:
        """The first time after ``moment``; None if there is none (31 February)."""
        first = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for day in _each_day(first, 1):
            if self._is_day(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        if (found := day.replace(hour=hour, minute=minute)) >= first:
                            return found
        return None

    def previous(self, moment: datetime) -> datetime | None:
        """The last time at or before ``moment``."""
        last = moment.replace(second=0, microsecond=0)
        for day in _each_day(last, -1):
            if self._is_day(day):
                for hour in sorted(self.hours, reverse=True):
                    for minute in sorted(self.minutes, reverse=True):
                        if (found := day.replace(hour=hour, minute=minute)) <= last:
                            return found
        return None

    def _is_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return of_month and of_week
        return of_month or of_week


def parse_cron(text: str) -> CronTime:
    """Raises ``ValueError`` ("must be …") when it is not a time of crontab(5)."""
    words = text.split()
    if len(words) != len(_FIELDS):
        raise ValueError(f"must have five fields, as in crontab(5); got {len(words)}")
    sets = [_parse_field(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
    weekdays = frozenset(day % 7 for day in sets[4])
    return CronTime(text, sets[0], sets[1], sets[2], sets[3], weekdays, words[2][0] == "*", words[4][0] == "*")


def _parse_field(word: str, name: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    wanted = f"the {name} must be {low}-{high}, a list, a range or */step; got {word}"
    found: set[int] = set()
    for part in word.split(","):
        match = re.fullmatch(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?", part)
        if match is None:
            raise ValueError(wanted)
        star, first, last, step = match.groups()
        begin = low if star else _number(first, low, names, wanted)
        end = high if star or (step and not last) else _number(last or first, low, names, wanted)
        stride = int(step or 1)
        if not (low <= begin <= end <= high) or not stride:
            raise ValueError(wanted)
        found.update(range(begin, end + 1, stride))
    return frozenset(found)


def _number(word: str, low: int, names: tuple[str, ...], wanted: str) -> int:
    if word.isdecimal():
        return int(word)
    if word.lower() in names:
        return names.index(word.lower()) + low
    raise ValueError(wanted)


def _each_day(moment: datetime, step: int) -> Iterator[datetime]:
    """Midnights, from the moment's own on."""
    day = moment.replace(hour=0, minute=0)
    while abs(day - moment) < _HORIZON:
        yield day
        day += timedelta(days=step)

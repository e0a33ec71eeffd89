"""What a run's picture is made of: lanes of marks along a line of time, as data. Pure; ``lanes`` makes them.

All positions are in the picture's own units, ``WIDTH`` of them across, with ``LEFT`` kept free for the lanes' names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH = 1160.0
LEFT = 150.0
TOP = 46.0
LANE = 20.0
GAP = 5.0
CELL = 2.0
"""Attempts closer together than this are drawn as one mark: the worst of them."""
ROWS, LABEL_ROOM = 3, 130.0
TITLE = 160
LEAD, TAIL, LEAST = 0.25, 0.35, 0.8


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle in a lane: from ``x``, ``width`` wide; ``kind`` is its CSS class, ``title`` what hovering shows, and
    ``link`` where a click goes. ``text`` is printed in it where there is room."""

    x: float
    width: float
    kind: str
    title: str
    link: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """``y`` is the lane's upper edge; ``group`` says what sort of lane it is."""

    label: str
    group: str
    y: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """A line through all lanes. ``row`` keeps its name apart from those beside it; ``before``: it stands left of it."""

    x: float
    label: str
    kind: str
    row: int = 0
    before: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """``begin`` and ``seconds`` of the time that is shown, relative to the injection; ``ticks`` (x, text)."""

    begin: float
    seconds: float
    height: float
    lanes: tuple[Lane, ...]
    moments: tuple[Moment, ...]
    fault: Mark | None
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """From monotonic seconds to the picture."""

    begin: float
    end: float
    zero: float

    def x(self, t: float) -> float:
        inside = min(max(t, self.begin), self.end)
        return LEFT + (inside - self.begin) / (self.end - self.begin) * (WIDTH - LEFT)

    def shows(self, begin: float, end: float) -> bool:
        return end >= self.begin and begin <= self.end

    def after(self, t: float) -> str:
        return f"{t - self.zero:+.3f} s"


def draw_ticks(scale: Scale) -> tuple[tuple[float, str], ...]:
    """Some eight round steps of time, counted from the injection."""
    span = scale.end - scale.begin
    raw = span / 8
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil((scale.begin - scale.zero) / step)
    last = math.floor((scale.end - scale.zero) / step)
    places = max(0, -math.floor(math.log10(step)))
    return tuple((scale.x(scale.zero + n * step), f"{n * step:.{places}f} s") for n in range(first, last + 1))

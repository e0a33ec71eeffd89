"""What a scenario promises besides its outage budget, and what audits and watchers say against it. Pure.

Promises (the header's ``limits``) are held against the figures of ``measures``. What the watchers, ARP or a stream saw
broken is broken, however the probes fared; what the judged probe saw counts only as far as the probe is believed, as
its outage does. Entry points: ``check_limits``, ``check_audits``, ``check_watchers``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rackbox.history import History, HistoryError, Record
from rackbox.holding import WATCH_SOURCE, Holding
from rackbox.measures import FIGURES, Figure

LIMITS: Mapping[str, tuple[str, ...]] = {
    "failed": ("failed",),
    "failed_after_retry": ("failed_after_retry",),
    "slow_ms": ("slow_ms",),
    "double_holder_ms": ("double_holder_ms", "double_answer_ms"),
    "second_outage_ms": ("second_outage_ms", "second_outage_healing_ms"),
    "cuts": ("cuts",),
    "moves": ("moves",),
    "neighbour_ms": ("neighbour_ms",),
    "detection_ms": ("detection_ms",),
    "links_given_up": ("links_given_up",),
    "redundant_ms": ("redundant_ms",),
}
"""Each limit, and the figures that are held against it: the greatest counts, the first must have been measured."""

SEEN_APART = frozenset(
    {"double_holder_ms", "cuts", "moves", "neighbour_ms", "detection_ms", "links_given_up", "redundant_ms"}
)
"""Not seen by the judged probe, so that a starved probe is no excuse."""

_NOTHING_TO_MEASURE = ("no move", "no outage")
_HOLDERS_SPREAD = 1.0
"""Asking the machines who holds the floating IP takes up to this long (seconds): their answers are that old."""


@dataclass(frozen=True, slots=True)
class LimitChecks:
    """``broken``: seen broken, whatever else is in doubt. ``over``: over, as far as the judged probe is believed.
    ``unclear``: not measured, or within the ± of the limit."""

    broken: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


def read_limits(header: Record) -> dict[str, float]:
    """The header's ``limits``, none in a history from before there were any. Raises ``HistoryError``."""
    limits = header.fields.get("limits") or {}
    if not isinstance(limits, Mapping):
        raise HistoryError(f"header: limits must be names with numbers; got {limits!r}")
    inner = Record(header.t, header.wall, header.source, "header: limits", limits)
    return {name: inner.number(name) for name in limits}


def check_limits(limits: Mapping[str, float], figures: Sequence[Figure]) -> LimitChecks:
    """Hold the figures against the limits."""
    found: dict[str, list[str]] = {"broken": [], "over": [], "unclear": []}
    for name, limit in limits.items():
        if name not in LIMITS:
            found["unclear"].append(f"limit {name}: not known to this version")
            continue
        kind, text = _check(name, limit, {figure.name: figure for figure in figures})
        if kind:
            found[kind].append(text)
    return LimitChecks(*(tuple(texts) for texts in found.values()))


def _check(name: str, limit: float, figures: Mapping[str, Figure]) -> tuple[str, str]:
    parts = [figures[part] for part in LIMITS[name] if part in figures]
    measured = [(figure.value, figure) for figure in parts if figure.value is not None]
    if not measured or parts[0].value is None:
        why = parts[0].detail if parts else ""
        if not measured and why in _NOTHING_TO_MEASURE:
            return "", ""
        if not measured or max(value for value, _ in measured) <= limit:
            return "unclear", f"{FIGURES[LIMITS[name][0]].title}: not measured{f' ({why})' if why else ''}"
    value, figure = max(measured, key=lambda pair: pair[0])
    unit = " ms" if name.endswith("_ms") else ""
    title = FIGURES[figure.name].title
    if value > limit:
        return "broken" if name in SEEN_APART else "over", f"{title} {value:.0f}{unit}; limit {limit:.0f}{unit}"
    if value and value + (figure.resolution or 0.0) > limit:
        return (
            "unclear",
            f"{title} {value:.0f} ± {figure.resolution:.0f} ms cannot be told from the limit of {limit:.0f} ms",
        )
    return "", ""


def check_audits(history: History) -> list[str]:
    """What the audits found that should not be there. They are kept apart: the service was well, the lab is not."""
    return [
        f"{'after healing' if record.text('phase') == 'healed' else 'after recovery'}: {problem}"
        for record in history.events("audit")
        for problem in record.texts("problems")
    ]


def check_watchers(history: History, holding: Holding | None, injected: float) -> tuple[list[str], list[str]]:
    """Where the watchers on the balancers contradict what the machines said when they were asked, and notes on watchers
    that were silent. A machine whose watcher is out of touch contradicts nobody."""
    contradictions: list[str] = []
    notes: list[str] = []
    expected = history.header.texts("watchers") if history.header else ()
    silent = [name for name in expected if holding is None or name not in holding.spans]
    if silent:
        notes.append(f"no word from the watcher on {', '.join(silent)}")
    if holding is None:
        return contradictions, notes
    if early := [move for move in holding.moves if move.t < injected]:
        contradictions.append(f"the floating IP moved to {early[-1].machine} before there was a fault")
    begun = max(r.t for name in holding.spans for r in history.events("address", WATCH_SOURCE + name)[:1])
    for record in (r for r in history.events("holders") if r.t >= begun):
        asked = set(record.texts("holders"))
        moments = [record.t, *(t for t, _, _ in holding.changes if record.t - _HOLDERS_SPREAD <= t < record.t)]
        moments.append(record.t - _HOLDERS_SPREAD)
        views = [{n for n in holding.at(t) if holding.hears(n, record.t)} for t in moments]
        heard = {name for name in holding.spans if holding.hears(name, record.t)}
        if all(view != asked & heard for view in views):
            answer, seen = (", ".join(sorted(names)) or "none" for names in (asked, views[0]))
            phase = record.text("phase")
            contradictions.append(f"holders of the floating IP ({phase}): {answer} when asked; {seen} by the watchers")
    return contradictions, notes


def note_figures(figures: Sequence[Figure], limits: Mapping[str, float]) -> list[str]:
    """What a reader should know of the floating IP though nothing was promised about it."""
    by_name = {figure.name: figure for figure in figures}
    notes: list[str] = []
    for name, limit, words in (
        ("double_holder_ms", "double_holder_ms", "two machines held the floating IP for {value:.0f} ms"),
        ("double_answer_ms", "double_holder_ms", "two machines answered for the floating IP for {value:.0f} ms"),
        ("flaps", "moves", "the floating IP moved {value:.0f} more times than once"),
        ("cuts", "cuts", "{value:.0f} streams cut"),
    ):
        figure = by_name.get(name)
        if figure and figure.value and limit not in limits:
            notes.append(words.format(value=figure.value))
    neighbour = by_name.get("neighbour_ms")
    if neighbour and neighbour.detail.startswith("never"):
        notes.append(
            f"the client's ARP table did not follow the floating IP: {neighbour.detail.removeprefix('never: ')}"
        )
    return notes

"""What probes have read back of what they had written, and what is wrong with it: ``read_audits``. Pure, and from the
history alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rackbox.history import PROBE_SOURCE, History, Record


@dataclass(frozen=True, slots=True)
class WriteAudit:
    """Acknowledged writes, or events of them, looked for after the run. ``lost`` and ``twice`` name the first few; the
    counts are of all. ``disorder_count``: events of a watch that came in another order than the writes were made."""

    acknowledged: int
    lost: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    lost_count: int = 0
    twice_count: int = 0
    disorder_count: int = 0


@dataclass(frozen=True, slots=True)
class Audits:
    """``total`` is of all probes that could say; ``broken`` is what should not be, ``doubts`` what nobody knows."""

    total: WriteAudit | None
    broken: tuple[str, ...]
    doubts: tuple[str, ...]


def read_audits(history: History) -> Audits:
    """Every probe that promises an audit must have made it."""
    found: list[WriteAudit] = []
    doubts: list[str] = []
    for start in history.events("probe-start"):
        if not start.fields.get("audits"):
            continue
        record = history.last("probe-audit", start.source)
        if record is None or record.fields.get("error"):
            probe = start.source.removeprefix(PROBE_SOURCE)
            doubts.append(
                f"{probe}: writes were not read back: {record.text('error') if record else 'the probe ended'}"
            )
        else:
            found.append(read_audit(record))
    broken = tuple(text for audit in found for text in _complain(audit))
    return Audits(add_audits(found) if found else None, broken, tuple(doubts))


def read_audit(record: Record) -> WriteAudit:
    """One probe's. Histories from before there were counts name all, or the first 20."""

    def count(word: str) -> int:
        return int(record.number(f"{word}_count")) if f"{word}_count" in record.fields else len(record.texts(word))

    return WriteAudit(
        int(record.number("acknowledged")),
        record.texts("lost"),
        record.texts("twice"),
        count("lost"),
        count("twice"),
        count("disorder"),
    )


def add_audits(audits: Sequence[WriteAudit]) -> WriteAudit:
    """What several probes have found, together."""
    return WriteAudit(
        sum(audit.acknowledged for audit in audits),
        tuple(key for audit in audits for key in audit.lost),
        tuple(key for audit in audits for key in audit.twice),
        sum(audit.lost_count for audit in audits),
        sum(audit.twice_count for audit in audits),
        sum(audit.disorder_count for audit in audits),
    )


def _complain(audit: WriteAudit) -> list[str]:
    figures = {"lost": audit.lost_count, "made twice": audit.twice_count, "seen out of order": audit.disorder_count}
    return [f"acknowledged writes {what}: {count} of {audit.acknowledged}" for what, count in figures.items() if count]

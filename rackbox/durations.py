"""Durations and sizes as people write them (``500ms``, ``2G``) and as rackbox counts them (milliseconds, MiB).

Pure. ``parse_*`` raise ``ValueError`` with a text that begins with "must be".
"""

from __future__ import annotations

import re

_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MIB = {"M": 1, "G": 1024, "T": 1024 * 1024}
DURATION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d)$"
SIZE_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,3})?[MGT](i?B)?$"


def parse_duration(text: str) -> int:
    """Milliseconds of ``500ms``, ``2s``, ``1.5s``, ``10m``, ``24h`` or ``7d``."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)", text.strip(), re.ASCII)
    if match is None:
        raise ValueError("must be a duration with its unit, such as 500ms, 2s, 5m or 24h")
    number = float(match[1]) * _MS[match[2]]
    if number != int(number):
        raise ValueError("must be whole milliseconds")
    return int(number)


def format_duration(ms: int) -> str:
    """The shortest exact way to write ``ms`` milliseconds: ``parse_duration`` reads it back."""
    for unit, size in reversed(_MS.items()):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def parse_size(text: str) -> int:
    """MiB of ``512M``, ``2G``, ``1.5G`` or ``1T``. Units are powers of 1024, as LVM has them; ``GiB`` and ``GB`` mean
    the same here."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([MGT])(?:i?B)?", text.strip(), re.ASCII)
    if match is None:
        raise ValueError("must be a size with its unit, such as 512M, 2G or 1.5G")
    number = float(match[1]) * _MIB[match[2]]
    if number != int(number):
        raise ValueError("must be whole MiB")
    return int(number)


def format_size(mib: int) -> str:
    """The shortest exact way to write ``mib`` MiB: ``parse_size`` reads it back."""
    for unit, size in reversed(_MIB.items()):
        if mib and mib % size == 0:
            return f"{mib // size}{unit}"
    return f"{mib}M"

"""What every probe is: settings in, one attempt at a time out. Knows nothing of faults, scenarios, or machines."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from rackbox.history import JsonValue


class ProbeFailed(Exception):
    """The service answered, but not as it should."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Everything a probe may need, as it travels on the runner's command line. Times are seconds.

    ``address`` is where to connect (DNS is not what is measured), ``server_name`` the name the certificate must carry.
    ``run_id`` keeps what a probe writes apart from every other run; ``audit_seconds`` bounds how long it may try to
    read that back.
    """

    probe: str
    history: Path
    run_id: str
    address: str
    port: int
    server_name: str
    ca: Path
    certificate: Path
    key: Path
    interval: float = 0.02
    timeout: float = 0.9
    max_seconds: float = 120.0
    audit_seconds: float = 8.0

    def argv(self) -> list[str]:
        """The arguments that ``parse_settings`` reads back."""
        words: list[str] = []
        for field in fields(self):
            words += [f"--{field.name.replace('_', '-')}", str(getattr(self, field.name))]
        return words


def parse_settings(argv: Sequence[str]) -> ProbeSettings:
    """Read the runner's command line; a usage error ends the program with 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m rackbox.probes.runner", description="Run one probe.")
    for name in ("probe", "run-id", "address", "server-name"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("history", "ca", "certificate", "key"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--port", required=True, type=int)
    for name, default in (("interval", 0.02), ("timeout", 0.9), ("max-seconds", 120.0), ("audit-seconds", 8.0)):
        parser.add_argument(f"--{name}", type=_positive, default=default, metavar="SECONDS")
    return ProbeSettings(**vars(parser.parse_args(list(argv))))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"must be above 0 seconds; got {text}")
    return value


class Probe(ABC):
    """One way of asking the lab for service, as a client would.

    ``pace`` multiplies the lab's probe interval: a probe that costs the lab more asks less often. A probe that
    ``audits`` is asked once more, when it has ended, whether what it was promised was kept.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    pace: ClassVar[int] = 1
    audits: ClassVar[bool] = False

    def __init__(self, settings: ProbeSettings) -> None:
        self.settings = settings

    @abstractmethod
    async def attempt(self, seq: int) -> str:
        """Ask once, on a connection of its own; the runner bounds it. Returns a detail worth keeping (or "").

        Raises ``ProbeFailed``, ``OSError`` (``ssl.SSLError`` is one) or ``EOFError`` when the service failed; anything
        else is a bug in the probe and makes the run unknown."""

    async def audit(self) -> Mapping[str, JsonValue]:
        """For probes that ``audits``: ``acknowledged`` (a count), ``lost`` and ``twice`` (lists of keys)."""
        raise NotImplementedError

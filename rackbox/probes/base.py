"""What every probe is: settings in, one attempt at a time out. Knows nothing of faults, scenarios, or machines."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from rackbox.history import JsonValue
from rackbox.probes.endpoints import Endpoint, parse_endpoint, serialise_endpoint

E = TypeVar("E", bound=Endpoint)


class ProbeFailed(Exception):
    """The service answered, but not as it should."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Everything a probe may need, as it travels on the runner's command line. Times are seconds.

    ``endpoint`` is what it is aimed at. ``run_id`` keeps what a probe writes apart from every other run;
    ``audit_seconds`` bounds how long it may try to read that back.
    """

    probe: str
    history: Path
    run_id: str
    endpoint: Endpoint
    interval: float = 0.02
    timeout: float = 0.9
    max_seconds: float = 120.0
    audit_seconds: float = 8.0

    def argv(self) -> list[str]:
        """The arguments that ``parse_settings`` reads back."""
        words: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            text = serialise_endpoint(value) if field.name == "endpoint" else str(value)
            words += [f"--{field.name.replace('_', '-')}", text]
        return words


def parse_settings(argv: Sequence[str]) -> ProbeSettings:
    """Read the runner's command line; a usage error ends the program with 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m rackbox.probes.runner", description="Run one probe.")
    for name in ("probe", "run-id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--history", required=True, type=Path)
    parser.add_argument("--endpoint", required=True, type=parse_endpoint, metavar="JSON")
    for name, default in (("interval", 0.02), ("timeout", 0.9), ("max-seconds", 120.0), ("audit-seconds", 8.0)):
        parser.add_argument(f"--{name}", type=_positive, default=default, metavar="SECONDS")
    return ProbeSettings(**vars(parser.parse_args(list(argv))))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"must be above 0 seconds; got {text}")
    return value


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer that came at ``at`` (monotonic seconds), which may be before the attempt is done with listening."""

    detail: str
    at: float


NAMED = 20
"""How many keys an audit names."""


def audit_figures(
    acknowledged: int, lost: Sequence[str], twice: Sequence[str] = (), **more: JsonValue
) -> dict[str, JsonValue]:
    """What an audit has found, as ``rackbox.readback`` reads it: the first keys by name, and how many there are."""
    return {
        "acknowledged": acknowledged,
        **more,
        "lost": [*lost[:NAMED]],
        "twice": [*twice[:NAMED]],
        "lost_count": len(lost),
        "twice_count": len(twice),
    }


class Probe(ABC, Generic[E]):
    """One way of asking the lab for service, as a client would.

    ``pace`` multiplies the lab's probe interval: a probe that costs the lab more asks less often. ``timeout`` (seconds)
    is for a probe whose answers are due sooner than the lab's own limit. A probe that ``audits`` is asked once more,
    when it has ended, whether what it was promised was kept. ``at_client``: whether its process stands where the lab's
    clients do. ``note`` writes an event of the probe's own into the history; the runner puts it in.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    aims_at: ClassVar[type[Endpoint]]
    pace: ClassVar[int] = 1
    timeout: ClassVar[float | None] = None
    audits: ClassVar[bool] = False
    at_client: ClassVar[bool] = True

    def __init__(self, settings: ProbeSettings, endpoint: E) -> None:
        self.settings = settings
        self.endpoint = endpoint
        self.note: Callable[..., None] = lambda event, /, **fields: None

    async def start(self) -> None:
        """Begin what lasts longer than one attempt. Must not wait for the lab: the schedule starts when it returns."""

    @abstractmethod
    async def attempt(self, seq: int) -> str | Answer:
        """Ask once; the runner bounds it. Returns a detail worth keeping (or "").

        Raises ``ProbeFailed``, ``OSError`` (``ssl.SSLError`` is one) or ``EOFError`` when the service failed; anything
        else is a bug in the probe and makes the run unknown."""

    def overdue(self, seq: int) -> str | Answer:
        """The time of attempt ``seq`` is up: what there is to say about it, or the answer that it had all the same."""
        return ""

    async def audit(self) -> Mapping[str, JsonValue]:
        """For probes that ``audits``: ``audit_figures``, with more of the probe's own."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End what ``start`` began, after the audit."""


class LastingProbe(Probe[E]):
    """A probe with something that goes on beside its attempts: a connection, a stream, a service being made."""

    def __init__(self, settings: ProbeSettings, endpoint: E) -> None:
        super().__init__(settings, endpoint)
        self._beside: asyncio.Task[None] | None = None

    @abstractmethod
    async def last(self) -> None:
        """Goes on from ``start`` to ``stop``, unless it is done before."""

    async def start(self) -> None:
        self._beside = asyncio.get_running_loop().create_task(self.last())

    async def stop(self) -> None:
        if self._beside is not None:
            self._beside.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beside

    def raise_its_end(self) -> None:
        """The bug, if there is one, that has ended what should never end of itself."""
        if self._beside is not None and self._beside.done():
            self._beside.result()

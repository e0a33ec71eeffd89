"""What every fault is: prepared, injected, healed, cleaned up after, and able to show that it did bite.

A fault knows machines and nothing of probes. ``heal`` is idempotent: it runs before a test (whatever an earlier one
left behind), after it, and on Ctrl-C, also when the fault was never injected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rackbox.history import JsonValue
from rackbox.machine import Lab, Machine

Evidence = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a fault acts: the machines that its target meant at the moment of injection."""

    lab: Lab
    names: tuple[str, ...]

    @property
    def machines(self) -> tuple[Machine, ...]:
        return tuple(self.lab.machine(name) for name in self.names)


class Fault(ABC):
    """One way of breaking machines. ``needs`` names the provider's capabilities without which it cannot be done."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    def setup(self, site: Site) -> None:  # noqa: B027 - most faults have nothing to prepare
        """Prepare what the injection needs, so that the injection itself is short."""

    @abstractmethod
    def inject(self, site: Site) -> None:
        """Break it."""

    @abstractmethod
    def heal(self, site: Site) -> None:
        """Mend it. Idempotent, and harmless where nothing is broken."""

    def teardown(self, site: Site) -> None:  # noqa: B027 - most faults leave nothing to take down
        """Remove what ``setup`` made. Idempotent."""

    @abstractmethod
    def evidence(self, site: Site) -> Evidence:
        """What can be seen of the fault on its machines; taken before and after the injection."""

    @abstractmethod
    def bitten(self, before: Evidence, after: Evidence) -> bool:
        """Whether the two show that the fault really happened on every machine it was meant for."""

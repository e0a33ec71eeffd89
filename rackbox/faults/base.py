"""What every fault is: prepared, injected, healed, cleaned up after, and able to show that it did bite.

A fault knows machines and nothing of probes. ``heal`` is idempotent: it runs before a test (whatever an earlier one
left behind), after it, and on Ctrl-C, also when the fault was never injected. What a fault does inside a machine goes
through ``break_inside``, ``mend_inside`` and ``look_inside``, each on all its machines at the same time.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from rackbox.errors import LabError
from rackbox.fencing import needs_fencing
from rackbox.history import JsonValue
from rackbox.machine import Lab, Machine
from rackbox.topology import Role

Evidence = Mapping[str, JsonValue]
Note = Callable[[str, Mapping[str, JsonValue]], None]
T = TypeVar("T")

LOOK_SECONDS = 5.0
MEND_SECONDS = 15.0
MEND_TRIES = 6
GONE = "does not answer any more"
"""Evidence of a machine that the fault was put into and that is not there any more, by its management network either,
which no fault touches."""
_PAUSE_SECONDS = 0.5


def _say_nothing(event: str, fields: Mapping[str, JsonValue]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Site:
    """Where a fault acts: the machines that its target meant at the moment of injection. ``note`` writes an event of
    the fault's own into the history; it never raises."""

    lab: Lab
    names: tuple[str, ...]
    note: Note = _say_nothing

    @property
    def machines(self) -> tuple[Machine, ...]:
        return tuple(self.lab.machine(name) for name in self.names)

    def each(self, act: Callable[[Machine], T]) -> dict[str, T]:
        """Do it to every machine at the same time; results by name. The first error passes once all have ended."""
        if not self.names:
            return {}
        with ThreadPoolExecutor(max_workers=len(self.names)) as pool:
            return dict(zip(self.names, list(pool.map(act, self.machines)), strict=True))

    def note_power(self, machine: Machine, on: bool) -> None:
        """To be said right after power was taken or given."""
        self.note("power", {"machine": machine.node.name, "on": on})


class Fault(ABC):
    """One way of breaking machines.

    ``needs`` names the provider's capabilities without which it cannot be done, ``stacks`` the values of
    ``load_balancer.ha`` under which there is something to break, ``roles`` the machines that it can be made on (empty:
    all). ``passes``: seconds after which what it broke is meant to be back without being healed; 0: never.
    """

    name: str
    summary: str
    needs: tuple[str, ...] = ()
    stacks: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    passes: float = 0.0

    def setup(self, site: Site) -> None:  # noqa: B027 - most faults have nothing to prepare
        """Prepare what the injection needs, so that the injection itself is short."""

    @abstractmethod
    def inject(self, site: Site) -> None:
        """Break it."""

    @abstractmethod
    def heal(self, site: Site) -> None:
        """Mend it. Idempotent, and harmless where nothing is broken; a machine without power is left alone, since
        nothing that was done inside outlives a power cut."""

    def teardown(self, site: Site) -> None:  # noqa: B027 - most faults leave nothing to take down
        """Remove what ``setup`` made. Idempotent."""

    @abstractmethod
    def evidence(self, site: Site) -> Evidence:
        """What can be seen of the fault on its machines; taken before and after the injection."""

    @abstractmethod
    def bitten(self, before: Evidence, after: Evidence) -> bool:
        """Whether the two show that the fault really happened on every machine it was meant for."""

    # --- help

    def break_inside(self, site: Site, script: str, *, timeout: float = 10.0) -> None:
        """Run a script that breaks something. ``script`` is bash, as root."""
        site.each(lambda machine: machine.run(f"# inject {self.name}\n{script}", timeout=timeout))

    def look_inside(self, site: Site, script: str) -> dict[str, str]:
        """What a script prints on each machine, stripped; ``GONE`` where its cluster may have had it switched off
        because of this very fault, and it does not answer any more."""

        def look(machine: Machine) -> str:
            try:
                return machine.run(f"# evidence {self.name}\n{script}", timeout=LOOK_SECONDS).stdout.strip()
            except LabError:
                if self.stacks == ("pacemaker",) and needs_fencing(site.lab.topology):
                    return GONE
                raise

        return site.each(look)

    def mend_inside(self, site: Site, script: str) -> None:
        """Run a script that mends, wherever there is power. A machine may be booting: its cluster may have had it
        switched off and on again because of this very fault."""
        site.each(lambda machine: mend(machine, f"# heal {self.name}\n{script}"))


def mend(machine: Machine, script: str) -> None:
    """Run ``script`` on a machine as soon as it can be reached; nothing is done to one without power. Raises
    ``LabError`` when that fails again and again."""
    for left in reversed(range(MEND_TRIES)):
        try:
            machine.run(script, timeout=MEND_SECONDS)
        except LabError:
            if not machine.is_running():
                return
            if not left:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return

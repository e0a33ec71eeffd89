"""A daemon hung: SIGSTOP to every process of its unit. The kernel goes on for it, so its ports accept connections, its
unit is active, and nothing is answered."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.daemons import Daemon


class Hung(Fault):
    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.name = f"{daemon.name}-hung"
        self.summary = f"SIGSTOP to every process of {daemon.unit}{' or its pod' if daemon.pod else ''}"
        self.roles = (daemon.role,)
        self.stacks = daemon.stacks

    def inject(self, site: Site) -> None:
        self.break_inside(site, self.daemon.signal("STOP"))

    def heal(self, site: Site) -> None:
        self.mend_inside(site, self.daemon.mend)

    def evidence(self, site: Site) -> Evidence:
        return self.look_inside(site, self.daemon.states)

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return all_stopped(before, after)


def all_stopped(before: Evidence, after: Evidence) -> bool:
    """Every process that was there is stopped, or gone already: a watchdog may be quick."""
    if not before:
        return False
    for name, text in before.items():
        were, are = read_states(text), read_states(after.get(name))
        if not were or any(state == "T" for state in were.values()):
            return False
        if any(are.get(pid, "T") != "T" for pid in were):
            return False
    return True


def read_states(text: object) -> dict[str, str]:
    """From ``334:S 362:T`` to states by pid; a process that ended while it was looked at does not count."""
    pairs = (word.partition(":") for word in str(text or "").split())
    return {pid: state for pid, _, state in pairs if state and state != "-"}

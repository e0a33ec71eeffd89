"""A daemon killed: SIGKILL to every process of its unit, master and workers alike, as the OOM killer would."""

from __future__ import annotations

from rackbox.faults.base import GONE, Evidence, Fault, Site
from rackbox.faults.daemons import Daemon


class Killed(Fault):
    passes = 8.0

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.name = f"{daemon.name}-killed"
        self.summary = f"SIGKILL to every process of {daemon.unit}{' or its pod' if daemon.pod else ''}"
        self.roles = (daemon.role,)
        self.stacks = daemon.stacks

    def inject(self, site: Site) -> None:
        self.break_inside(site, self.daemon.signal("KILL"))

    def heal(self, site: Site) -> None:
        self.mend_inside(site, self.daemon.mend)

    def evidence(self, site: Site) -> Evidence:
        """Per machine the unit's main process id; 0 while there is none."""
        return self.look_inside(site, self.daemon.main_pid)

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        none = ("", "0", GONE)
        return bool(before) and all(pid not in none and after.get(name) != pid for name, pid in before.items())

"""A process of a pod killed: SIGKILL, as the OOM killer would. Its kubelet starts it again."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.pod_processes import PodProcess


class PodKilled(Fault):
    passes = 30.0

    def __init__(self, process: PodProcess) -> None:
        self.process = process
        self.name = f"{process.name}-killed"
        self.summary = f"SIGKILL to the processes of {process.name} in their pods"
        self.roles = process.roles

    def inject(self, site: Site) -> None:
        self.break_inside(site, self.process.signal("KILL"))

    def heal(self, site: Site) -> None:
        """Nothing to mend: the kubelet does."""

    def evidence(self, site: Site) -> Evidence:
        """Per machine the processes' ids; empty while there are none."""
        return self.look_inside(site, self.process.pids)

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        """None of those that ran runs any more."""
        return bool(before) and all(
            bool(pids) and not {*str(pids).split()} & {*str(after.get(name, "")).split()}
            for name, pids in before.items()
        )

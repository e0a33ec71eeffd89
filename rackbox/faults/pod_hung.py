"""A process of a pod hung: SIGSTOP. Its ports go on accepting connections, and nothing is answered. The kubelet asks it
for its health, and kills it in the end: after some 80 seconds by kubeadm's settings."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.hung import all_stopped
from rackbox.faults.pod_processes import PodProcess


class PodHung(Fault):
    def __init__(self, process: PodProcess) -> None:
        self.process = process
        self.name = f"{process.name}-hung"
        self.summary = f"SIGSTOP to the processes of {process.name} in their pods"
        self.roles = process.roles

    def inject(self, site: Site) -> None:
        self.break_inside(site, self.process.signal("STOP"))

    def heal(self, site: Site) -> None:
        self.mend_inside(site, f"{self.process.signal('CONT')} || true")

    def evidence(self, site: Site) -> Evidence:
        return self.look_inside(site, self.process.states)

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return all_stopped(before, after)

"""Frozen: every process of a machine stops between two instructions, and goes on later as if nothing had been.

Where the provider cannot pause the whole machine, its kernel goes on: it answers ARP and ping, and accepts connections
that nobody serves. ``paused`` is the same where it can.
"""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site


class Frozen(Fault):
    name = "frozen"
    summary = "all processes frozen; the kernel still answers"
    needs = ("processes frozen",)

    def inject(self, site: Site) -> None:
        site.each(lambda machine: machine.freeze())

    def heal(self, site: Site) -> None:
        site.each(lambda machine: machine.thaw())

    def evidence(self, site: Site) -> Evidence:
        return site.each(lambda machine: machine.is_frozen())

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(was is False and after.get(name) is True for name, was in before.items())


class Paused(Frozen):
    name = "paused"
    summary = "the whole machine paused, its kernel too"
    needs = ("whole machine paused",)

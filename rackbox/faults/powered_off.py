"""Powered off: the plug is pulled. Links are cut first, so nothing says goodbye on the machine's behalf."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site


class PoweredOff(Fault):
    name = "powered-off"
    summary = "links cut, then everything killed at once"

    def inject(self, site: Site) -> None:
        for machine in site.machines:
            machine.power_off()

    def heal(self, site: Site) -> None:
        for machine in site.machines:
            if not machine.is_running():
                machine.power_on()

    def evidence(self, site: Site) -> Evidence:
        return {machine.node.name: machine.is_running() for machine in site.machines}

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(ran and after.get(name) is False for name, ran in before.items())

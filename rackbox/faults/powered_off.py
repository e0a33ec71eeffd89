"""Powered off: the plug is pulled. Links are cut first, so nothing says goodbye on the machine's behalf."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.machine import Machine


class PoweredOff(Fault):
    name = "powered-off"
    summary = "links cut, then everything killed at once"
    needs = ("power cut",)

    def inject(self, site: Site) -> None:
        def pull(machine: Machine) -> None:
            machine.power_off()
            site.note_power(machine, on=False)

        site.each(pull)

    def heal(self, site: Site) -> None:
        def put_back(machine: Machine) -> None:
            was_off = not machine.is_running()
            machine.power_on()  # also when it is on: somebody's plug may be noted as pulled
            if was_off:
                site.note_power(machine, on=True)

        site.each(put_back)

    def evidence(self, site: Site) -> Evidence:
        return site.each(lambda machine: machine.is_running())

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(ran and after.get(name) is False for name, ran in before.items())

"""Rebooted, in good order, from inside: what an administrator does after an upgrade, or by mistake."""

from __future__ import annotations

import time

from rackbox.errors import LabError
from rackbox.faults.base import Evidence, Fault, Site
from rackbox.machine import Machine

# When the first process was started, in kernel ticks: another number after each boot. (The kernel's boot_id would be
# the host's, in a container.)
BOOT = "cut -d' ' -f22 /proc/1/stat"
_GONE_SECONDS = 20.0
_POLL_SECONDS = 0.1


class Rebooted(Fault):
    name = "rebooted"
    summary = "systemctl reboot"
    passes = 30.0

    def inject(self, site: Site) -> None:
        """Returns when the machines have gone down: until then they go on as before."""
        boots = self.look_inside(site, BOOT)
        self.break_inside(site, "systemctl --no-block reboot")
        site.each(lambda machine: _wait_until_gone(machine, boots[machine.node.name]))

    def heal(self, site: Site) -> None:
        """It comes back by itself; what has no power was switched off by somebody else meanwhile."""

        def put_back(machine: Machine) -> None:
            if not machine.is_running():
                machine.power_on()

        site.each(put_back)

    def evidence(self, site: Site) -> Evidence:
        return site.each(_boot_of)

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(boot and after.get(name) != boot for name, boot in before.items())


def _boot_of(machine: Machine) -> str:
    """Empty while the machine does not answer."""
    if not machine.is_running():
        return ""
    try:
        return machine.run(f"# evidence rebooted\n{BOOT}", timeout=1.0).stdout.strip()
    except LabError:
        return ""


def _wait_until_gone(machine: Machine, boot: str) -> None:
    deadline = time.monotonic() + _GONE_SECONDS
    while _boot_of(machine) == boot and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)

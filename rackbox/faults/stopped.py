"""HAProxy stopped, in good order, by somebody who should not have: `systemctl stop`."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.daemons import HAPROXY


class HaproxyStopped(Fault):
    name = "haproxy-stopped"
    roles = ("lb",)
    summary = f"systemctl stop {HAPROXY.unit}"

    def inject(self, site: Site) -> None:
        self.break_inside(site, f"systemctl stop {HAPROXY.unit}")

    def heal(self, site: Site) -> None:
        self.mend_inside(site, HAPROXY.mend)

    def evidence(self, site: Site) -> Evidence:
        """Per machine when the unit was last started: another time proves that it had ended in between."""
        properties = "--property=ActiveState --property=ActiveEnterTimestampMonotonic"
        return self.look_inside(site, f"systemctl show {properties} --value {HAPROXY.unit} | paste --serial -d ' '")

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(
            str(state).startswith("active ") and after.get(name) not in (state, None, "")
            for name, state in before.items()
        )

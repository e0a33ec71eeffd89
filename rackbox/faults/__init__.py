"""The faults, by name. A new one is one file and one line here."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.haproxy_killed import HaproxyKilled
from rackbox.faults.powered_off import PoweredOff

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        HaproxyKilled(),
        PoweredOff(),
    )
}

__all__ = ["FAULTS", "Evidence", "Fault", "Site"]

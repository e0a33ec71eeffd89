"""The probes, by name. A new one is one file and one line here."""

from __future__ import annotations

from rackbox.probes.base import Probe, ProbeFailed, ProbeSettings, parse_settings
from rackbox.probes.etcd_read import EtcdRead, EtcdReadSerializable
from rackbox.probes.etcd_write import EtcdWrite

PROBES: dict[str, type[Probe]] = {
    probe.name: probe
    for probe in (
        EtcdRead,
        EtcdReadSerializable,
        EtcdWrite,
    )
}

__all__ = ["PROBES", "Probe", "ProbeFailed", "ProbeSettings", "parse_settings"]

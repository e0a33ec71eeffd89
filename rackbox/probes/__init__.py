"""The probes, by name. A new one is one file and one line here."""

from __future__ import annotations

from typing import Any

from rackbox.probes.base import Answer, Probe, ProbeFailed, ProbeSettings, parse_settings
from rackbox.probes.dns import DnsLookup
from rackbox.probes.etcd_keepalive import EtcdKeepalive
from rackbox.probes.etcd_read import EtcdRead, EtcdReadSerializable
from rackbox.probes.etcd_watch import EtcdWatch
from rackbox.probes.etcd_write import EtcdWrite
from rackbox.probes.floating_ip_arp import FloatingIpArp
from rackbox.probes.gluster_write import GlusterWrite

PROBES: dict[str, type[Probe[Any]]] = {
    probe.name: probe
    for probe in (
        EtcdRead,
        EtcdReadSerializable,
        EtcdKeepalive,
        EtcdWatch,
        EtcdWrite,
        DnsLookup,
        GlusterWrite,
        FloatingIpArp,
    )
}

__all__ = ["PROBES", "Answer", "Probe", "ProbeFailed", "ProbeSettings", "parse_settings"]

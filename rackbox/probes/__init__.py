"""The probes, by name. A new one is one file and one line here."""

from __future__ import annotations

from typing import Any

from rackbox.probes.api_control import ApiControl
from rackbox.probes.api_logs import ApiLogs
from rackbox.probes.api_read import ApiRead
from rackbox.probes.api_watch import ApiWatch
from rackbox.probes.api_write import ApiWrite
from rackbox.probes.base import Answer, Probe, ProbeFailed, ProbeSettings, parse_settings
from rackbox.probes.cluster_dns import ClusterDns
from rackbox.probes.dns import DnsLookup
from rackbox.probes.etcd_keepalive import EtcdKeepalive
from rackbox.probes.etcd_read import EtcdRead, EtcdReadSerializable
from rackbox.probes.etcd_watch import EtcdWatch
from rackbox.probes.etcd_write import EtcdWrite
from rackbox.probes.floating_ip_arp import FloatingIpArp
from rackbox.probes.gluster_write import GlusterWrite
from rackbox.probes.service_http import ServiceHttp

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
        ApiRead,
        ApiWrite,
        ApiWatch,
        ApiLogs,
        ApiControl,
        ServiceHttp,
        ClusterDns,
    )
}

__all__ = ["PROBES", "Answer", "Probe", "ProbeFailed", "ProbeSettings", "parse_settings"]

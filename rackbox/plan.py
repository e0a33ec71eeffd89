"""Shows a topology: ``print_plan`` for people, ``plan_json`` for programs. Reads only, decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rackbox.durations import format_duration, format_size
from rackbox.topology import Kubernetes, LoadBalancer, Node, Service, Topology

PLAN_SCHEMA = 1
# What a provider can do, as it tells it: what, whether, and a word on how or why not.
Capability = tuple[str, bool, str]

# A lab of hundreds of machines is summed up by role; --json has them all.
ROWS_MAX = 60

# Columns that are never split: what they hold is copied and searched for.
WHOLE = ("name", "range", "address", "MAC", "management", "gateway", "client", "on the floating IP", "on this host")


def plan_json(topology: Topology, capabilities: Sequence[Capability] = ()) -> dict[str, Any]:
    """The topology as plain data, stable within ``schema``: keys may be added, none is renamed or removed.

    - ``schema``: 1; ``lab``, ``domain``, ``os``, ``uplink``: as in the file
    - ``networks``: list of {name, kind: lab|management|wan, cidr, broadcast, gateway, client, machines: count}
    - ``machines``: list of {name, fqdn, role, index, cpus, memory_mib, address, nics: [{network, mac, address (with
      /length), dhcp, default_route}], disk_mib, volumes: [{name, mount, size_mib, disk_mib}]}
    - ``load_balancer``: null or {ha, floating_ip (with /length), network, fqdn, token_ms, consensus_ms, monitor_ms,
      stats_port, profile, join_ms, knet_ping, third_vote, fencing, cut_waits, haproxy: {runs_on, restart, watch_ms},
      arp_refresh, keepalived: {advert_ms, down_timer_adverts, check, script_interval_ms, script_weight, script_fall,
      script_rise, priorities, preempt}}
    - ``services``: list of {name, fqdn, port, host_port, backends: [{name, address, port}], check: {type, path,
      port (0: the backends'), first_port (0: none), first_path, interval_ms, fast_interval_ms, fall, rise, patient,
      fail_open}, proxy_protocol, balance, connect_timeout_ms, stream_timeout_ms}
    - ``gluster``: null or {volume, mount}
    - ``kubernetes``: null or {source, version (null: any), endpoint, pod_network, service_network, dns_address, pool:
      [first-last], proxy, runtime, etcd, ingress: traefik|none, ingress_domain (null: none)}
    - ``dns``: {upstream: [address], records: [{name (*.domain: all below), address, ptr}]}
    - ``failover``: {probe_interval_ms, probe_timeout_ms, budgets_ms: {scenario: ms}}
    - ``capabilities``: list of {name, able, note} of the provider; empty when none was chosen
    - ``totals``: {machines, cpus, memory_mib, volumes_mib}
    """
    return {
        "schema": PLAN_SCHEMA,
        "lab": topology.lab,
        "domain": topology.domain,
        "os": topology.os,
        "uplink": topology.uplink,
        "networks": _networks_json(topology),
        "machines": [_node_json(node) for node in topology.nodes],
        "load_balancer": _balancer_json(topology.load_balancer),
        "services": [_service_json(topology.domain, service) for service in topology.services],
        "gluster": None
        if topology.gluster_volume is None
        else {"volume": topology.gluster_volume, "mount": topology.gluster_mount},
        "kubernetes": _kubernetes_json(topology.kubernetes),
        "dns": {
            "upstream": [str(address) for address in topology.dns_upstream],
            "records": [{"name": r.name, "address": str(r.address), "ptr": r.ptr} for r in topology.dns],
        },
        "failover": {
            "probe_interval_ms": topology.failover.probe_interval_ms,
            "probe_timeout_ms": topology.failover.probe_timeout_ms,
            "budgets_ms": dict(topology.failover.budgets_ms),
        },
        "capabilities": [{"name": name, "able": able, "note": note} for name, able, note in capabilities],
        "totals": _totals_json(topology),
    }


def print_plan(
    topology: Topology,
    console: Console,
    capabilities: Sequence[Capability] = (),
    *,
    provider: str = "",
    playable: Sequence[str] | None = None,
) -> None:
    """Networks, machines, balanced services and names as tables that read well at 100 columns.

    ``provider`` is what they are planned for, as words; ``playable`` names the scenarios that this lab can play, where
    that is known: the budgets of all others are nothing to it.
    """
    words = (f"domain {topology.domain}", topology.os, provider, f"uplink {topology.uplink}")
    head = f"lab [bold]{topology.lab}[/]   " + "   ".join(escape(word) for word in words if word)
    console.print(head, highlight=False)
    for table in (_networks_table(topology), _machines_table(topology), _services_table(topology)):
        if table.row_count:
            console.print()
            console.print(table)
    console.print()
    for line in _closing_lines(topology, playable):
        console.print(line, highlight=False)
    if capabilities:
        console.print()
        console.print(_capabilities_table(capabilities))


def _totals_json(topology: Topology) -> dict[str, int]:
    return {
        "machines": len(topology.nodes),
        "cpus": sum(node.cpus for node in topology.nodes),
        "memory_mib": sum(node.memory_mib for node in topology.nodes),
        "volumes_mib": sum(volume.size_mib for node in topology.nodes for volume in node.volumes),
    }


def _networks_json(topology: Topology) -> list[dict[str, Any]]:
    counts = _count_by_network(topology)
    return [
        {
            "name": network.name,
            "kind": network.kind,
            "cidr": str(network.cidr),
            "broadcast": str(network.broadcast),
            "gateway": str(network.gateway) if network.gateway else None,
            "client": str(network.client) if network.client else None,
            "machines": counts.get(network.name, 0),
        }
        for network in topology.networks
    ]


def _node_json(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "fqdn": node.fqdn,
        "role": node.role,
        "index": node.index,
        "cpus": node.cpus,
        "memory_mib": node.memory_mib,
        "address": str(node.address),
        "nics": [
            {
                "network": nic.network,
                "mac": nic.mac,
                "address": str(nic.address),
                "dhcp": nic.dhcp,
                "default_route": nic.default_route,
            }
            for nic in node.nics
        ],
        "disk_mib": node.disk_mib,
        "volumes": [
            {"name": v.name, "mount": v.mount, "size_mib": v.size_mib, "disk_mib": v.disk_mib} for v in node.volumes
        ],
    }


def _balancer_json(balancer: LoadBalancer | None) -> dict[str, Any] | None:
    if balancer is None:
        return None
    return {
        "ha": balancer.ha,
        "floating_ip": str(balancer.floating_ip.address),
        "network": balancer.floating_ip.network,
        "fqdn": balancer.floating_ip.fqdn,
        "token_ms": balancer.token_ms,
        "consensus_ms": balancer.consensus_ms,
        "monitor_ms": balancer.monitor_ms,
        "stats_port": balancer.stats_port,
        "profile": balancer.profile,
        "join_ms": balancer.join_ms,
        "knet_ping": balancer.knet_ping,
        "third_vote": balancer.third_vote,
        "fencing": balancer.fencing,
        "cut_waits": balancer.cut_waits,
        "haproxy": {
            "runs_on": balancer.haproxy_on,
            "restart": balancer.haproxy_restart,
            "watch_ms": balancer.haproxy_watch_ms,
        },
        "arp_refresh": balancer.arp_refresh,
        "keepalived": {**asdict(balancer.keepalived), "priorities": list(balancer.keepalived.priorities)},
    }


def _kubernetes_json(kubernetes: Kubernetes | None) -> dict[str, Any] | None:
    if kubernetes is None:
        return None
    return {
        "source": kubernetes.source,
        "version": kubernetes.version or None,
        "endpoint": f"{kubernetes.endpoint}:{kubernetes.port}",
        "pod_network": str(kubernetes.pod_network),
        "service_network": str(kubernetes.service_network),
        "dns_address": str(kubernetes.dns_address),
        "pool": [f"{first}-{last}" for first, last in kubernetes.pool],
        "proxy": kubernetes.proxy,
        "runtime": kubernetes.runtime,
        "etcd": kubernetes.etcd,
        "ingress": kubernetes.ingress,
        "ingress_domain": kubernetes.ingress_domain or None,
    }


def _service_json(domain: str, service: Service) -> dict[str, Any]:
    check = service.check
    return {
        "name": service.name,
        "fqdn": f"{service.name}.{domain}",
        "port": service.port,
        "host_port": service.host_port,
        "backends": [{"name": b.name, "address": str(b.address), "port": b.port} for b in service.backends],
        "check": {
            "type": check.type,
            "path": check.path,
            "port": check.port,
            "first_port": check.first_port,
            "first_path": check.first_path,
            "interval_ms": check.interval_ms,
            "fast_interval_ms": check.fast_interval_ms,
            "fall": check.fall,
            "rise": check.rise,
            "patient": check.patient,
            "fail_open": check.fail_open,
        },
        "proxy_protocol": service.proxy_protocol,
        "balance": service.balance,
        "connect_timeout_ms": service.connect_timeout_ms,
        "stream_timeout_ms": service.stream_timeout_ms,
    }


def _count_by_network(topology: Topology) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in topology.nodes:
        for nic in node.nics:
            counts[nic.network] = counts.get(nic.network, 0) + 1
    return counts


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            header_style="dim",
            overflow="fold",
            no_wrap=column in WHOLE,
        )
    return table


def _row(table: Table, *cells: str) -> None:
    """As they are: rich would take the ``:ab:`` of a MAC address for an emoji."""
    table.add_row(*(Text(cell) for cell in cells))


def _networks_table(topology: Topology) -> Table:
    counts = _count_by_network(topology)
    table = _table("Networks", "name", "range", "gateway", "client", "machines", "for", right=["machines"])
    purposes = {"management": "the host's way to the machines", "wan": "the gateway's way out", "lab": "the lab"}
    for network in topology.networks:
        purpose = "the lab; clients stand here" if network.kind == "lab" and network.client else purposes[network.kind]
        gateway, client = str(network.gateway or "–"), str(network.client or "–")
        _row(table, network.name, str(network.cidr), gateway, client, str(counts.get(network.name, 0)), purpose)
    return table


def _machines_table(topology: Topology) -> Table:
    title = f"Machines ({len(topology.nodes)})"
    table = _table(title, "name", "address", "MAC", "management", "cpus", "memory", "volumes", right=["cpus", "memory"])
    shown = topology.nodes if len(topology.nodes) <= ROWS_MAX else _first_and_last(topology)
    before: Node | None = None
    for node in shown:
        if before is not None and node.role == before.role and node.index != before.index + 1:
            _row(table, "…", f"{node.index - before.index - 1} more")
        first, *others = node.lab_nics
        addresses = [str(nic.address) for nic in (first, *others)]
        volumes = ", ".join(f"{volume.name} {format_size(volume.size_mib)}" for volume in node.volumes) or "–"
        _row(
            table,
            node.name,
            "\n".join(addresses),
            "\n".join(nic.mac for nic in (first, *others)),
            str(node.management.address.ip),
            str(node.cpus),
            format_size(node.memory_mib),
            volumes,
        )
        before = node
    return table


def _first_and_last(topology: Topology) -> list[Node]:
    """The first five and the last machine of each role."""
    last = {node.role: node for node in topology.nodes}
    return [node for node in topology.nodes if node.index <= 5 or node is last[node.role]]


def _services_table(topology: Topology) -> Table:
    table = _table("Balanced services", "name", "on the floating IP", "on this host", "backends", "check")
    balancer = topology.load_balancer
    if balancer is None:
        return table
    for service in topology.services:
        names = [backend.name for backend in service.backends]
        backends = ", ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]} ({len(names)})"
        port = service.backends[0].port
        check = service.check
        asked = f"{check.type} :{check.port}" if check.port else check.type
        words = f"{asked}, every {format_duration(check.interval_ms)}"
        host = f"127.0.0.1:{service.host_port}" if service.host_port else "–"
        front = f"{balancer.floating_ip.address.ip}:{service.port}"
        _row(table, service.name, front, host, f"{backends}, port {port}", words)
    return table


def _closing_lines(topology: Topology, playable: Sequence[str] | None) -> list[str]:
    lines = []
    balancer = topology.load_balancer
    if balancer is not None:
        vip = balancer.floating_ip
        lines.append(
            f"floating IP  {vip.address} on {vip.network}, {vip.fqdn}, kept by {balancer.ha} ({_timing(balancer)})"
        )
    if topology.gluster_volume is not None:
        lines.append(f"storage      volume {topology.gluster_volume}, workers mount it on {topology.gluster_mount}")
    if topology.kubernetes is not None:
        cluster = topology.kubernetes
        pool = ", ".join(f"{first}-{last}" for first, last in cluster.pool) or "none: nothing is reserved there"
        lines.append(
            f"Kubernetes   {cluster.endpoint}:{cluster.port}, pods {cluster.pod_network}, services "
            f"{cluster.service_network}, LoadBalancer addresses {pool}"
        )
        if cluster.ingress_domain:
            lines.append(f"Ingresses    *.{cluster.ingress_domain}, served by {cluster.ingress} on the workers")
    reverse = sum(record.ptr for record in topology.dns)
    upstream = ", ".join(str(address) for address in topology.dns_upstream) or "none"
    lines.append(f"DNS          {len(topology.dns)} names, {reverse} reverse; upstream {upstream}")
    lines.append(f"failover     {_budgets_words(topology, playable)}")
    totals = _totals_json(topology)
    memory = totals["memory_mib"] / 1024
    lines.append(f"totals       {totals['machines']} machines, {totals['cpus']} cpus, {memory:.1f}G memory at most")
    return lines


def _timing(balancer: LoadBalancer) -> str:
    """What the stack in use waits for before it moves the address."""
    if balancer.ha == "keepalived":
        tuned = balancer.keepalived
        return f"advert {format_duration(tuned.advert_ms)}, gone after {tuned.down_timer_adverts} of them"
    return f"token {format_duration(balancer.token_ms)}, monitor {format_duration(balancer.monitor_ms)}"


def _budgets_words(topology: Topology, playable: Sequence[str] | None) -> str:
    """How many ways of breaking it there are, and what a client may then miss: all by name are a page of their own."""
    budgets = [ms for name, ms in topology.failover.budgets_ms if playable is None or name in playable]
    if not budgets:
        return "nothing that can be broken on purpose: `./lab failover-test --list` says why"
    least, most = format_duration(min(budgets)), format_duration(max(budgets))
    span = least if least == most else f"{least} to {most}"
    return f"{len(budgets)} scenarios, budgets of {span}: `./lab failover-test --list`"


def _capabilities_table(capabilities: Sequence[Capability]) -> Table:
    table = _table("The provider", "can", "", "note")
    for name, able, note in capabilities:
        table.add_row(Text(name), Text("yes", style="green") if able else Text("no", style="red"), Text(note))
    return table

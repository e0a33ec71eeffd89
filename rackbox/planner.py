"""From a config to its topology: ``plan_topology``. Pure, and linear in the number of machines."""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from rackbox.addresses import Placement, gateway_address, host_address, mac_address, place_machines
from rackbox.checks import check_config, host_port_of, pool_of
from rackbox.config_kubernetes import API_PORT, API_SERVICE, INGRESS_LABEL
from rackbox.errors import ConfigError
from rackbox.roles import BOX_VOLUMES, ROLE_FACTS, ROLES, RoleFacts
from rackbox.topology import (
    MANAGEMENT,
    WAN,
    Backend,
    Check,
    DnsRecord,
    Failover,
    FloatingIp,
    Keepalived,
    Kubernetes,
    LoadBalancer,
    Network,
    Nic,
    Node,
    Service,
    Topology,
    Volume,
)

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network

    from rackbox.config import Config
    from rackbox.config_balancer import ServiceConfig


def plan_topology(config: Config) -> Topology:
    """What ``config`` means. Raises ``ConfigError`` with every problem of how its keys fit together.

    Pure and deterministic; linear in the number of machines.
    """
    problems = check_config(config)
    placement, address_problems = place_machines(config)
    problems += address_problems
    if problems:
        raise ConfigError(sorted(set(problems), key=lambda problem: (problem.line, problem.path, problem.text)))
    if config.kubernetes is not None and config.kubernetes.source == "none":
        config = config.without_kubernetes()
    networks = _plan_networks(config, placement)
    nodes = tuple(node for facts in ROLES for node in _plan_role(config, facts, placement))
    _check_macs(config, nodes)
    balancer = _plan_balancer(config, placement)
    kubernetes = _plan_kubernetes(config)
    services = tuple(_plan_service(service, nodes, kubernetes) for service in config.services)
    has_gluster = any(node.role == "gluster" for node in nodes)
    return Topology(
        lab=config.name,
        domain=config.domain,
        os=config.os,
        uplink=config.uplink,
        dns_upstream=config.dns.upstream,
        networks=networks,
        nodes=nodes,
        load_balancer=balancer,
        services=services,
        dns=_plan_dns(config.domain, nodes, balancer, services, kubernetes),
        gluster_volume=config.storage.volume if has_gluster else None,
        gluster_mount=config.storage.mount,
        wait_ms=config.wait,
        failover=_plan_failover(config),
        kubernetes=kubernetes,
    )


def _plan_networks(config: Config, placement: Placement) -> tuple[Network, ...]:
    management, wan = config.management, config.wan
    own = (
        Network(MANAGEMENT, "management", management, gateway=None, client=host_address(management)),
        Network(WAN, "wan", wan, gateway=host_address(wan), client=None),
    )
    lab = tuple(
        Network(
            name,
            "lab",
            network.cidr,
            gateway=placement.gateways[name],
            client=host_address(network.cidr) if name == placement.client_network else None,
        )
        for name, network in config.networks.items()
    )
    return own + lab


def _plan_role(config: Config, facts: RoleFacts, placement: Placement) -> list[Node]:
    """The machines of one role. All that they share is worked out once."""
    wished = config.nodes.of(facts.role)
    if wished is None:
        return []
    own = facts.volumes_of(cluster=config.kubernetes is not None)
    volumes = {v.name: Volume(v.name, v.mount, v.size_mib, disk_mib=v.disk_mib(v.size_mib)) for v in own}
    usual = {volume.name: volume for volume in own}
    for name, volume in wished.volumes.items():
        mount = volume.mount or (volumes[name].mount if name in volumes else BOX_VOLUMES.get(name, ""))
        disk = volume.disk if volume.disk is not None else usual[name].disk_mib(volume.size) if name in usual else 0
        volumes[name] = Volume(name, mount, volume.size, of_box=name in BOX_VOLUMES, disk_mib=disk)
    return [
        Node(
            name=name,
            fqdn=f"{name}.{config.domain}",
            role=facts.role,
            index=index,
            cpus=wished.cpus or facts.cpus,
            memory_mib=wished.memory or facts.memory_mib,
            nics=_plan_nics(config, facts, name, placement),
            volumes=tuple(volumes.values()),
            disk_mib=wished.disk or 0,
        )
        for index, name in enumerate(facts.names_of(wished), 1)
    ]


def _plan_nics(config: Config, facts: RoleFacts, name: str, placement: Placement) -> tuple[Nic, ...]:
    def nic(network: str, address: IPv4Address, cidr: IPv4Network, *, dhcp: bool = False, default: bool = False) -> Nic:
        interface = IPv4Interface((address, cidr.prefixlen))
        return Nic(network, mac_address(config.name, name, network), interface, dhcp=dhcp, default_route=default)

    management = nic(MANAGEMENT, placement.management[name], config.management)
    if not facts.network:
        wan = nic(WAN, gateway_address(config.wan), config.wan, default=True)
        lab = (nic(at, placement.gateways[at], network.cidr) for at, network in config.networks.items())
        return (management, wan, *lab)
    home = facts.network_of(config)
    return (management, nic(home, placement.lab[name], config.networks[home].cidr, dhcp=True, default=True))


def _check_macs(config: Config, nodes: tuple[Node, ...]) -> None:
    """40 bits of hash make a collision all but impossible, and two machines with one MAC very hard to find."""
    owners: dict[str, str] = {}
    for node in nodes:
        for nic in node.nics:
            other = owners.setdefault(nic.mac, node.name)
            if other != node.name:
                both = f"{other} and {node.name} get the same MAC address {nic.mac}"
                text = f"must be another name: {both}; got {config.name}"
                raise ConfigError([config.problem(("name",), text)])


def _plan_balancer(config: Config, placement: Placement) -> LoadBalancer | None:
    address = placement.floating_ip
    if address is None:
        return None
    balancer = config.balancer
    network = ROLE_FACTS["lb"].network_of(config)
    interface = IPv4Interface((address, config.networks[network].cidr.prefixlen))
    return LoadBalancer(
        ha=balancer.ha,
        profile=balancer.profile,
        floating_ip=FloatingIp(interface, network, balancer.name, f"{balancer.name}.{config.domain}"),
        token_ms=config.balancer_ms("corosync", "token"),
        consensus_ms=config.balancer_ms("corosync", "consensus"),
        join_ms=balancer.corosync.join,
        knet_ping=balancer.corosync.knet_ping,
        third_vote=balancer.pacemaker.third_vote,
        fencing=balancer.pacemaker.fencing,
        cut_waits=balancer.pacemaker.cut_waits,
        monitor_ms=balancer.monitor,
        stats_port=balancer.stats_port,
        haproxy_on=balancer.haproxy.runs_on,
        haproxy_restart=balancer.haproxy.restart,
        haproxy_watch_ms=balancer.haproxy.watch,
        arp_refresh=balancer.arp_refresh,
        keepalived=_plan_keepalived(config),
    )


def _plan_keepalived(config: Config) -> Keepalived:
    settings = config.balancer.keepalived
    return Keepalived(
        advert_ms=config.balancer_ms("keepalived", "advert"),
        down_timer_adverts=config.balancer_ms("keepalived", "down_timer_adverts"),
        check=settings.check,
        script_interval_ms=settings.script.interval,
        script_weight=settings.script.weight,
        script_fall=settings.script.fall,
        script_rise=settings.script.rise,
        priorities=settings.priorities,
        preempt=settings.preempt,
    )


def _plan_kubernetes(config: Config) -> Kubernetes | None:
    wished = config.kubernetes
    if wished is None:
        return None
    return Kubernetes(
        source=wished.source,
        version=wished.version or "",
        bundle=wished.bundle or "",
        runtime=wished.runtime,
        etcd=wished.etcd,
        cluster=wished.cluster,
        endpoint=f"{API_SERVICE}.{config.domain}",
        port=API_PORT,
        pod_network=wished.pod_network,
        service_network=wished.service_network,
        pool=pool_of(config),
        pool_network=ROLE_FACTS["worker"].network_of(config),
        proxy=wished.proxy,
        ingress=wished.ingress if config.has_ingress else "none",
        ingress_domain=f"{INGRESS_LABEL}.{config.domain}" if config.has_ingress else "",
    )


def _plan_service(service: ServiceConfig, nodes: tuple[Node, ...], kubernetes: Kubernetes | None) -> Service:
    check = service.check
    port = service.backend_port or service.port
    is_api = kubernetes is not None and service.backend == "master" and port == kubernetes.port
    backends = tuple(Backend(node.name, node.address, port) for node in nodes if node.role == service.backend)
    return Service(
        name=service.name,
        port=service.port,
        backends=backends,
        check=Check(
            type=check.type or ("https" if check.path else "tcp"),
            path=check.path or "",
            interval_ms=check.interval,
            fast_interval_ms=check.fast_interval,
            fall=check.fall,
            rise=check.rise,
            authority="kubernetes" if is_api else "lab",
            port=check.port or 0,
            first_port=check.first_port or 0,
            first_path=check.first_path or "",
            patient=check.patient,
            fail_open=check.fail_open and len(backends) > 1,
        ),
        connect_timeout_ms=service.connect_timeout,
        stream_timeout_ms=service.stream_timeout,
        host_port=host_port_of(service),
        proxy_protocol=service.proxy_protocol,
        balance=service.balance,
    )


def _plan_dns(
    domain: str,
    nodes: tuple[Node, ...],
    balancer: LoadBalancer | None,
    services: tuple[Service, ...],
    kubernetes: Kubernetes | None,
) -> tuple[DnsRecord, ...]:
    records = [DnsRecord(node.fqdn, nic.address.ip, ptr=True) for node in nodes for nic in node.lab_nics]
    if balancer is not None:
        vip = balancer.floating_ip
        records.append(DnsRecord(vip.fqdn, vip.address.ip, ptr=True))
        records += [DnsRecord(f"{service.name}.{domain}", vip.address.ip, ptr=False) for service in services]
        if kubernetes is not None and kubernetes.ingress_domain:
            records.append(DnsRecord(f"*.{kubernetes.ingress_domain}", vip.address.ip, ptr=False))
    elif kubernetes is not None:  # one master, as ``checks`` holds: it is the API
        records += [DnsRecord(kubernetes.endpoint, node.address, ptr=False) for node in nodes if node.role == "master"]
    return tuple(records)


def _plan_failover(config: Config) -> Failover:
    probe = config.failover.probe
    budgets = {**config.default_budgets, **config.failover.budgets}
    return Failover(probe.interval, probe.timeout, tuple(sorted(budgets.items())))

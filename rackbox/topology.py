"""What a config means: every machine with its NICs, MACs, addresses, names, volumes and services.

All of it is derived by ``plan_topology`` from a ``Config`` alone, so two runs agree. Everything here is
frozen data; later stages (render, plan, up, failover) read a ``Topology`` and never the YAML. What a
provider can or cannot do is not in here: one config gives one topology everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING, Literal

from rackbox.addresses import Placement, gateway_address, host_address, mac_address, place_machines
from rackbox.checks import check_config, host_port_of
from rackbox.errors import ConfigError
from rackbox.roles import ROLE_FACTS, ROLES, RoleFacts

if TYPE_CHECKING:
    from rackbox.config import Config, ServiceConfig

Role = str
"""A name in ``roles.ROLES``."""
NetworkKind = Literal["lab", "management", "wan"]
CheckType = Literal["tcp", "https"]

MANAGEMENT = "mgmt"
WAN = "wan"


@dataclass(frozen=True, slots=True)
class Network:
    """One layer-2 segment. ``gateway`` is the gateway machine's address on it (lab networks) or the host's
    end (WAN); ``client`` is the address at which the client's place (the lab's namespace, or the host) stands
    on it, None where it does not stand: it stands on one lab network and on the management network."""

    name: str
    kind: NetworkKind
    cidr: IPv4Network
    gateway: IPv4Address | None
    client: IPv4Address | None

    @property
    def broadcast(self) -> IPv4Address:
        return self.cidr.broadcast_address

    @property
    def netmask(self) -> IPv4Address:
        return self.cidr.netmask


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface. In the guest it carries the network's name (matched by MAC, never by bus position).

    ``dhcp``: the address is served by the gateway's dnsmasq from a reservation; otherwise cloud-init sets it.
    ``default_route``: the guest's default route leaves here.
    """

    network: str
    mac: str
    address: IPv4Interface
    dhcp: bool
    default_route: bool


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume of a machine: an LVM volume in VMs, a directory of its own in system containers."""

    name: str
    mount: str
    size_mib: int


@dataclass(frozen=True, slots=True)
class Node:
    """One machine, as data. ``nics[0]`` is always the management NIC. ``index`` counts from 1 within the role."""

    name: str
    fqdn: str
    role: Role
    index: int
    cpus: int
    memory_mib: int
    nics: tuple[Nic, ...]
    volumes: tuple[Volume, ...]

    @property
    def management(self) -> Nic:
        return self.nics[0]

    @property
    def lab_nics(self) -> tuple[Nic, ...]:
        return tuple(nic for nic in self.nics if nic.network not in (MANAGEMENT, WAN))

    @property
    def address(self) -> IPv4Address:
        """The machine's address on its (first) lab network: the one its name resolves to."""
        return self.lab_nics[0].address.ip

    def nic(self, network: str) -> Nic:
        return next(nic for nic in self.nics if nic.network == network)


@dataclass(frozen=True, slots=True)
class Check:
    """How HAProxy asks a backend whether it is well. ``path`` and ``status`` are for ``https``."""

    type: CheckType
    path: str
    interval_ms: int
    fast_interval_ms: int
    fall: int
    rise: int


@dataclass(frozen=True, slots=True)
class Backend:
    name: str
    address: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Service:
    """One load-balanced TCP service on the floating IP, passed through (TLS ends at the backend).

    ``name`` is also a DNS name (``etcd.kube.demo``) for the floating IP. ``host_port`` is the preferred port of
    the forwarder on the host's 127.0.0.1, 0 = none. Timeouts are milliseconds.
    """

    name: str
    port: int
    backends: tuple[Backend, ...]
    check: Check
    connect_timeout_ms: int
    stream_timeout_ms: int
    host_port: int


@dataclass(frozen=True, slots=True)
class FloatingIp:
    address: IPv4Interface
    network: str
    name: str
    fqdn: str


@dataclass(frozen=True, slots=True)
class Keepalived:
    """VRRP as keepalived has it. ``check`` is ``process`` or ``script``; the script's ``weight`` is added to a priority
    while it passes. ``priorities`` are the balancers', in order. Times are milliseconds."""

    advert_ms: int
    down_timer_adverts: int
    check: str
    script_interval_ms: int
    script_weight: int
    script_fall: int
    script_rise: int
    priorities: tuple[int, int]
    preempt: bool


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """The balancer pair's settings. Times are milliseconds. ``ha`` names the stack that keeps the floating IP.

    ``knet_ping`` is ``tuned`` or ``auto``, ``haproxy_on`` is ``both`` or ``holder``; ``haproxy_watch_ms`` is 0 where
    no watchdog looks after HAProxy.
    """

    ha: str
    profile: str
    floating_ip: FloatingIp
    token_ms: int
    consensus_ms: int
    join_ms: int
    knet_ping: str
    third_vote: bool
    fencing: bool
    monitor_ms: int
    stats_port: int
    haproxy_on: str
    haproxy_restart: bool
    haproxy_watch_ms: int
    arp_refresh: bool
    keepalived: Keepalived

    @property
    def tracks_haproxy(self) -> bool:
        """Whether keepalived is told of HAProxy's end at once."""
        return self.ha == "keepalived" and self.keepalived.check == "process"

    @property
    def watches_haproxy(self) -> bool:
        """Whether a program in the balancers looks after HAProxy: for hangs, or for keepalived, or both."""
        return self.haproxy_watch_ms > 0 or self.tracks_haproxy


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A name and the address it stands for; forward and reverse (``ptr``) are both served."""

    name: str
    address: IPv4Address
    ptr: bool


@dataclass(frozen=True, slots=True)
class Failover:
    """Probe settings and budgets. ``budgets_ms`` maps a scenario's name to its largest allowed outage."""

    probe_interval_ms: int
    probe_timeout_ms: int
    budgets_ms: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole lab. ``nodes`` are ordered gateway, lb, master, gluster, worker: the order in which they help
    each other up, though any order works."""

    lab: str
    domain: str
    os: str
    uplink: Literal["none", "nat"]
    dns_upstream: tuple[IPv4Address, ...]
    networks: tuple[Network, ...]
    nodes: tuple[Node, ...]
    load_balancer: LoadBalancer | None
    services: tuple[Service, ...]
    dns: tuple[DnsRecord, ...]
    gluster_volume: str | None
    gluster_mount: str
    failover: Failover

    def network(self, name: str) -> Network:
        return next(network for network in self.networks if network.name == name)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def by_role(self, role: Role) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role == role)

    @property
    def lab_networks(self) -> tuple[Network, ...]:
        return tuple(network for network in self.networks if network.kind == "lab")

    @property
    def client_network(self) -> Network:
        """The one network on which clients stand (the dmz)."""
        return next(network for network in self.lab_networks if network.client is not None)


def plan_topology(config: Config) -> Topology:
    """What ``config`` means. Raises ``ConfigError`` with every problem of how its keys fit together.

    Pure and deterministic; linear in the number of machines.
    """
    problems = check_config(config)
    placement, address_problems = place_machines(config)
    problems += address_problems
    if problems:
        raise ConfigError(sorted(set(problems), key=lambda problem: (problem.line, problem.path, problem.text)))
    networks = _plan_networks(config, placement)
    nodes = tuple(node for facts in ROLES for node in _plan_role(config, facts, placement))
    _check_macs(config, nodes)
    balancer = _plan_balancer(config, placement)
    services = tuple(_plan_service(service, nodes) for service in config.services)
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
        dns=_plan_dns(config.domain, nodes, balancer, services),
        gluster_volume=config.storage.volume if has_gluster else None,
        gluster_mount=config.storage.mount,
        failover=_plan_failover(config),
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
    volumes = {volume.name: Volume(volume.name, volume.mount, volume.size_mib) for volume in facts.volumes}
    for name, volume in wished.volumes.items():
        mount = volume.mount or (volumes[name].mount if name in volumes else "")
        volumes[name] = Volume(name, mount, volume.size)
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


def _plan_service(service: ServiceConfig, nodes: tuple[Node, ...]) -> Service:
    check = service.check
    port = service.backend_port or service.port
    return Service(
        name=service.name,
        port=service.port,
        backends=tuple(Backend(node.name, node.address, port) for node in nodes if node.role == service.backend),
        check=Check(
            type=check.type or ("https" if check.path else "tcp"),
            path=check.path or "",
            interval_ms=check.interval,
            fast_interval_ms=check.fast_interval,
            fall=check.fall,
            rise=check.rise,
        ),
        connect_timeout_ms=service.connect_timeout,
        stream_timeout_ms=service.stream_timeout,
        host_port=host_port_of(service),
    )


def _plan_dns(
    domain: str, nodes: tuple[Node, ...], balancer: LoadBalancer | None, services: tuple[Service, ...]
) -> tuple[DnsRecord, ...]:
    records = [DnsRecord(node.fqdn, nic.address.ip, ptr=True) for node in nodes for nic in node.lab_nics]
    if balancer is not None:
        vip = balancer.floating_ip
        records.append(DnsRecord(vip.fqdn, vip.address.ip, ptr=True))
        records += [DnsRecord(f"{service.name}.{domain}", vip.address.ip, ptr=False) for service in services]
    return tuple(records)


def _plan_failover(config: Config) -> Failover:
    probe = config.failover.probe
    budgets = {**config.default_budgets, **config.failover.budgets}
    return Failover(probe.interval, probe.timeout, tuple(sorted(budgets.items())))

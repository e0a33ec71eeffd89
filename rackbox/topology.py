"""What a config means: every machine with its NICs, MACs, addresses, names, volumes and services.

All of it is derived by ``planner.plan_topology`` from a ``Config`` alone, so two runs agree. Everything here is
frozen data; later stages (render, plan, up, failover) read a ``Topology`` and never the YAML. What a
provider can or cannot do is not in here: one config gives one topology everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass

Role = str
"""A name in ``roles.ROLES``."""
NetworkKind = Literal["lab", "management", "wan"]
CheckType = Literal["tcp", "http", "https"]
Balance = Literal["roundrobin", "leastconn"]

KUBERNETES_ROLES = ("master", "worker")
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
    """A named volume of a machine: an LVM volume in VMs, a directory of its own in system containers. ``of_box``: every
    machine has it, and only its size is the lab's business (system containers have no use for that). ``disk_mib``: it
    lies in a thin pool on a disk of its own of that size; 0: in the machine's volume group."""

    name: str
    mount: str
    size_mib: int
    of_box: bool = False
    disk_mib: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One machine, as data. ``nics[0]`` is always the management NIC. ``index`` counts from 1 within the role.
    ``disk_mib`` is the size of a virtual machine's first disk, 0 for the box's."""

    name: str
    fqdn: str
    role: Role
    index: int
    cpus: int
    memory_mib: int
    nics: tuple[Nic, ...]
    volumes: tuple[Volume, ...]
    disk_mib: int = 0

    @property
    def own_disks(self) -> tuple[Volume, ...]:
        """The volumes that have a disk of their own, in the order of the disks."""
        return tuple(volume for volume in self.volumes if volume.disk_mib)

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
    """How HAProxy asks a backend whether it is well. ``path`` is for ``http`` and ``https``; ``port`` is where it asks,
    0 for the backend's own. ``authority`` says whose CA the backend's certificate must be of: the ``lab``'s, or
    ``kubernetes``' own, where none of the lab's counts. ``patient``:
    a check has its whole interval, its TLS handshake included. ``first_port``, 0 for none, is asked for ``first_path``
    before, by HTTP: both have to say 200. ``fail_open``: where none of several backends is well,
    all are tried."""

    type: CheckType
    path: str
    interval_ms: int
    fast_interval_ms: int
    fall: int
    rise: int
    authority: Literal["lab", "kubernetes"] = "lab"
    port: int = 0
    first_port: int = 0
    first_path: str = ""
    patient: bool = False
    fail_open: bool = True


@dataclass(frozen=True, slots=True)
class Backend:
    name: str
    address: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Service:
    """One load-balanced TCP service on the floating IP, passed through (TLS ends at the backend).

    ``name`` is also a DNS name (``etcd.kube.demo``) for the floating IP. ``host_port`` is the preferred port of
    the forwarder on the host's 127.0.0.1, 0 = none. Timeouts are milliseconds. ``proxy_protocol``: each connection
    begins with the client's address for the backend (PROXY protocol, version 2). ``balance`` is HAProxy's word.
    """

    name: str
    port: int
    backends: tuple[Backend, ...]
    check: Check
    connect_timeout_ms: int
    stream_timeout_ms: int
    host_port: int
    proxy_protocol: bool = False
    balance: Balance = "roundrobin"


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


VOTE_HEARTBEAT_MIN_MS = 100


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
    cut_waits: bool
    monitor_ms: int
    stats_port: int
    haproxy_on: str
    haproxy_restart: bool
    haproxy_watch_ms: int
    arp_refresh: bool
    keepalived: Keepalived

    @property
    def vote_heartbeat_ms(self) -> int:
        """How often the third vote is spoken to. A balancer counts as gone there after 2.2 heartbeats: by the time
        that token and consensus are over, so that nobody waits for it."""
        return max(VOTE_HEARTBEAT_MIN_MS, round((self.token_ms + self.consensus_ms) / 2.1))

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
    """A name and the address it stands for; forward and reverse (``ptr``) are both served. ``*.apps.kube.demo`` is
    every name below ``apps.kube.demo``, and that itself."""

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
class Kubernetes:
    """The cluster that is asked for. ``source``, ``version`` ("" = any) and ``bundle`` ("" = from the catalogue) are
    wishes: what they come to on a computer is a ``release.Choice``, beside the topology.

    ``endpoint`` is the API's DNS name and ``port`` its port, the same on the floating IP and on the masters. ``pool``
    are the addresses (first, last) of LoadBalancer services, which are announced on the network ``pool_network``;
    none where it is empty. ``ingress`` is what serves Ingresses on the floating IP, or ``none``, and
    ``ingress_domain`` the domain whose names all stand for that ("" with none).
    """

    source: str
    version: str
    bundle: str
    runtime: str
    etcd: str
    cluster: str
    endpoint: str
    port: int
    pod_network: IPv4Network
    service_network: IPv4Network
    pool: tuple[tuple[IPv4Address, IPv4Address], ...]
    pool_network: str
    proxy: str
    ingress: str = "none"
    ingress_domain: str = ""

    @property
    def dns_address(self) -> IPv4Address:
        """Where the cluster's own DNS answers: the services' tenth address, as kubeadm has it."""
        return self.service_network.network_address + 10


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole lab. ``nodes`` are ordered gateway, lb, master, gluster, worker: the order in which they help
    each other up, though any order works. ``wait_ms`` is how long a machine waits for another one while it
    provisions itself."""

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
    wait_ms: int
    failover: Failover
    kubernetes: Kubernetes | None = None

    def network(self, name: str) -> Network:
        return next(network for network in self.networks if network.name == name)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def by_role(self, role: Role) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role == role)

    @property
    def kubernetes_nodes(self) -> tuple[Node, ...]:
        """The machines that are nodes of the cluster; none where there is no cluster."""
        if self.kubernetes is None:
            return ()
        return tuple(node for node in self.nodes if node.role in KUBERNETES_ROLES)

    @property
    def has_ingress(self) -> bool:
        """Whether the floating IP serves the cluster's Ingresses."""
        return self.kubernetes is not None and self.kubernetes.ingress != "none"

    @property
    def has_stacked_etcd(self) -> bool:
        """Whether etcd is pods of the control plane, and not a service of the masters' own."""
        return self.kubernetes is not None and self.kubernetes.etcd == "stacked"

    @property
    def lab_networks(self) -> tuple[Network, ...]:
        return tuple(network for network in self.networks if network.kind == "lab")

    @property
    def client_network(self) -> Network:
        """The one network on which clients stand (the dmz)."""
        return next(network for network in self.lab_networks if network.client is not None)

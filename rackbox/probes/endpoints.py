"""What a probe is aimed at, by kind, and how a lab's topology says so. Pure.

An endpoint travels on the runner's command line as JSON; ``find_obstacle`` says why a lab has nothing of a kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from rackbox.topology import Topology

ETCD_SERVICE = "etcd"


@dataclass(frozen=True, slots=True)
class TlsEndpoint:
    """A service through the floating IP. ``address`` is where to connect (DNS is not what is measured), ``server_name``
    the name that the certificate must carry; the rest are files: the CA to trust, and what the client shows."""

    kind: ClassVar[str] = "tls"
    address: str
    port: int
    server_name: str
    ca: str
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class EtcdEndpoint(TlsEndpoint):
    """etcd."""

    kind: ClassVar[str] = "etcd"


@dataclass(frozen=True, slots=True)
class ApiEndpoint(TlsEndpoint):
    """The API of the lab's cluster, as its administrator."""

    kind: ClassVar[str] = "kubernetes"


@dataclass(frozen=True, slots=True)
class ClusterServiceEndpoint(TlsEndpoint):
    """The same, for a probe that has the cluster make a service with an address of its own, and asks that."""

    kind: ClassVar[str] = "kubernetes-service"


@dataclass(frozen=True, slots=True)
class DnsEndpoint:
    """A DNS server, a name to look up there, and the one address that is the right answer."""

    kind: ClassVar[str] = "dns"
    server: str
    port: int
    name: str
    expected: str


@dataclass(frozen=True, slots=True)
class AddressEndpoint:
    """An address on the client's own network: who answers for it?"""

    kind: ClassVar[str] = "address"
    address: str


@dataclass(frozen=True, slots=True)
class GuestEndpoint:
    """A directory inside a machine. ``argv`` runs a program there as root, its arguments to be appended: the program's
    input and output are those of ``argv``. ``mount`` is the mount point that the directory must be under."""

    kind: ClassVar[str] = "guest"
    machine: str
    argv: tuple[str, ...]
    mount: str


Endpoint = EtcdEndpoint | ApiEndpoint | ClusterServiceEndpoint | DnsEndpoint | AddressEndpoint | GuestEndpoint
_TYPES: dict[str, type[Endpoint]] = {
    kind.kind: kind
    for kind in (EtcdEndpoint, ApiEndpoint, ClusterServiceEndpoint, DnsEndpoint, AddressEndpoint, GuestEndpoint)
}
OF_CLUSTER = (ApiEndpoint.kind, ClusterServiceEndpoint.kind)
_ON_FLOATING_IP = (EtcdEndpoint.kind, AddressEndpoint.kind, DnsEndpoint.kind, *OF_CLUSTER)


def serialise_endpoint(endpoint: Endpoint) -> str:
    return json.dumps({"kind": endpoint.kind, **asdict(endpoint)}, separators=(",", ":"))


def parse_endpoint(text: str) -> Endpoint:
    """Read ``serialise_endpoint`` back; raises ``ValueError`` for anything else."""
    try:
        data = json.loads(text)
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        kind: Callable[..., Endpoint] = _TYPES[values.pop("kind")]
        return kind(**values)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not an endpoint: {text[:80]}") from error


def find_obstacle(topology: Topology, kind: str) -> str:
    """Why a lab has nothing for a probe of this ``kind`` of endpoint; empty if it has."""
    if kind in OF_CLUSTER and topology.kubernetes is None:
        return "needs a Kubernetes cluster; the lab has none"
    if kind in _ON_FLOATING_IP and topology.load_balancer is None:
        return "needs a floating IP; the lab has no load balancers"
    if kind == EtcdEndpoint.kind and not any(service.name == ETCD_SERVICE for service in topology.services):
        return f"needs the service `{ETCD_SERVICE}` on the floating IP; the lab has none"
    if kind == ClusterServiceEndpoint.kind and not (topology.kubernetes and topology.kubernetes.pool):
        return "needs addresses for services of type LoadBalancer; the lab has none (kubernetes.pool)"
    if kind == DnsEndpoint.kind and not topology.by_role("gateway"):
        return "needs a gateway that answers DNS; the lab has none"
    if kind == GuestEndpoint.kind:
        if not topology.by_role("worker"):
            return "needs a worker; the lab has none"
        if topology.gluster_volume is None:
            return "needs a shared volume; the lab has no Gluster servers"
    return ""


def plan_endpoint(
    topology: Topology, kind: str, secrets: Path, guest_argv: Callable[[str], tuple[str, ...]]
) -> Endpoint:
    """What a probe of this ``kind`` is aimed at; ``find_obstacle`` must have found none. ``guest_argv`` gives the argv
    that runs a program in a machine."""
    if kind == GuestEndpoint.kind:
        worker = topology.by_role("worker")[0]
        return GuestEndpoint(worker.name, guest_argv(worker.name), topology.gluster_mount)
    balancer = topology.load_balancer
    if balancer is None:
        raise ValueError("a lab without load balancers; find_obstacle says so")
    address = str(balancer.floating_ip.address.ip)
    if kind == AddressEndpoint.kind:
        return AddressEndpoint(address)
    if kind == DnsEndpoint.kind:
        return DnsEndpoint(str(topology.client_network.gateway), 53, balancer.floating_ip.fqdn, address)
    if kind in OF_CLUSTER and topology.kubernetes is not None:
        own = secrets / "kubernetes"
        files = [str(own / name) for name in ("ca.pem", "admin.pem", "admin.key")]
        aimed = ApiEndpoint if kind == ApiEndpoint.kind else ClusterServiceEndpoint
        return aimed(address, topology.kubernetes.port, topology.kubernetes.endpoint, *files)
    service = next(service for service in topology.services if service.name == ETCD_SERVICE)
    return EtcdEndpoint(
        address=address,
        port=service.port,
        server_name=f"{service.name}.{topology.domain}",
        ca=str(secrets / "ca.pem"),
        certificate=str(secrets / "client.pem"),
        key=str(secrets / "client.key"),
    )

"""What the user wrote: the keys of a lab's YAML file, typed, with defaults. Nothing is derived here.

``load_config`` reads and checks a file; ``planner.plan_topology`` then works out what it means. Every key's
``description`` ends up in ``config/schema.json`` (``json_schema``), where editors show it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, PrivateAttr, ValidationError, create_model, model_validator
from pydantic_core import CoreSchema

from rackbox.budgets import BUDGETS_MS
from rackbox.checks import check_without_networks, host_port_of
from rackbox.config_balancer import EXTREME, LoadBalancerConfig, ServiceConfig
from rackbox.config_errors import explain, without_bad_keys
from rackbox.config_kubernetes import API, API_SERVICE, INGRESS, KubernetesConfig
from rackbox.durations import SIZE_PATTERN, format_size
from rackbox.errors import ConfigError, Problem
from rackbox.fields import (
    ADDRESS,
    CIDR,
    DOMAIN,
    MOUNT,
    RANGES,
    AddressRange,
    choice,
    duration_between,
    label,
    size_between,
    whole,
    whole_gib,
)
from rackbox.planner import plan_topology
from rackbox.roles import BOX_DISK_MIB, ROLES
from rackbox.section import DnsLabel, OptionalAddress, Section, key
from rackbox.topology import Role
from rackbox.yamlfile import KeyPath, YamlFile, dotted, load_yaml

# Open lists: a new operating system, provider or balancer stack is a name here and one file where its kind lives.
OPERATING_SYSTEMS = ("debian-13", "debian-12", "ubuntu-26.04", "ubuntu-24.04")
PROVIDERS = ("auto", "lxc", "libvirt", "virtualbox")

# The service that a lab with masters has unless it lists its own. The check is *serializable*: it asks the member
# itself, so that an election, during which every plain /health fails, does not empty the backend.
ETCD: dict[str, Any] = {
    "name": "etcd",
    "port": 2379,
    "backend": "master",
    "check": {"type": "https", "path": "/health?serializable=true"},
}

LAB_NAME_MAX = 20  # namespaces, boxes and directories are called rackbox-<lab>…
NETWORK_NAME_MAX = 15  # IFNAMSIZ - 1 of Linux: networks' names are the interfaces' names inside the machines
NODES_MAX = 20_000
# mgmt and wan are ours; lo is the loopback; all and default are directories of /proc/sys/net/ipv4/conf.
NETWORK_NAMES_TAKEN = ("mgmt", "wan", "lo", "all", "default")
VOLUME_NAMES_TAKEN = ("swap",)
WHOLE_GIB = whole_gib(format_size(BOX_DISK_MIB), "16T")

NetworkName = Annotated[str, label(NETWORK_NAME_MAX, letter_first=True, reserved=NETWORK_NAMES_TAKEN)]
OptionalNetworkName = Annotated[str | None, label(NETWORK_NAME_MAX).optional()]
MachineName = Annotated[str, label(reserved=("localhost",))]
VolumeName = Annotated[str, label(32, letter_first=True, reserved=VOLUME_NAMES_TAKEN)]


class Dns(Section):
    upstream: tuple[Annotated[IPv4Address, ADDRESS], ...] = key(
        (), "Name servers that the gateway asks about names outside of the lab."
    )


class NetworkConfig(Section):
    cidr: Annotated[IPv4Network, CIDR] = Field(description="The network, such as 192.168.4.0/24.")
    gateway: OptionalAddress = key(None, "The gateway's address on it. Default: the last one (.254 of a /24).")
    reserved: Annotated[tuple[AddressRange, ...], RANGES] = key(
        [], "Addresses kept free of machines: a-b, or a list. For service load balancers, by-hand experiments …"
    )


class VolumeConfig(Section):
    """A volume; its size alone (`var: 8G`) will do where it is known where it is mounted."""

    size: Annotated[int, size_between("64M", "16T")] = Field(
        description="Its size, such as 2G. Made larger later, it grows live with the next `up`; it never shrinks."
    )
    mount: Annotated[str | None, MOUNT.optional()] = key(
        None, "Where it is mounted. The role's own volumes and the box's (var, home, …) know."
    )
    disk: Annotated[int | None, size_between("256M", "16T").optional()] = key(
        None,
        "Virtual machines: a disk of its own of that size, with the volume (XFS) in a thin pool on it. It grows live, "
        "too. Default: none, but for Gluster's brick, which has one that fits.",
    )

    @model_validator(mode="before")
    @classmethod
    def _size_alone(cls, value: Any) -> Any:
        return {"size": value} if isinstance(value, str) else value


class _OrSizeAlone:
    """What an editor may be told of a volume: a mapping, or a size."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string", "pattern": SIZE_PATTERN}]}


class RoleNodes(Section):
    """The machines of one role."""

    count: Annotated[int | None, whole(0, NODES_MAX).optional()] = key(
        None,
        "How many. Default: as many as `names` or `addresses`, else gateway 1, lb 2, master 3, gluster 3, worker 2.",
    )
    names: tuple[MachineName, ...] | None = key(None, "Their names. Default: the role and a number (master1).")
    network: OptionalNetworkName = key(None, "The network on which they stand.")
    cpus: Annotated[int | None, whole(1, 256).optional()] = key(None, "Processors of each.")
    memory: Annotated[int | None, size_between("128M", "1T").optional()] = key(
        None, "Memory of each, such as 512M or 2G."
    )
    disk: Annotated[int | None, WHOLE_GIB.optional()] = key(
        None, "Virtual machines: the disk of each, in whole GiB. Default: the box's 32G. Larger later, it grows live."
    )
    first_address: OptionalAddress = key(None, "Address of the first; the others follow.")
    addresses: tuple[Annotated[IPv4Address, ADDRESS], ...] | None = key(None, "Or: every machine's address, in order.")
    volumes: Mapping[VolumeName, Annotated[VolumeConfig, _OrSizeAlone()]] = key(
        {}, "More volumes, or other sizes of the role's own."
    )


class Nodes(Section):
    """Which roles there are. A role that is not named is not in the lab."""

    @model_validator(mode="before")
    @classmethod
    def _named_is_wanted(cls, value: Any) -> Any:
        """``worker:`` with nothing behind it asks for workers as they come; only a missing key means none."""
        return (
            {name: {} if role is None else role for name, role in value.items()} if isinstance(value, dict) else value
        )

    def of(self, role: Role) -> RoleNodes | None:
        found: RoleNodes | None = getattr(self, role)
        return found


if TYPE_CHECKING:
    NodesByRole = Nodes
else:  # one key for each role there is
    NodesByRole = create_model(
        "Nodes",
        __base__=Nodes,
        __doc__=Nodes.__doc__,
        **{facts.role: (RoleNodes | None, key(None, facts.summary)) for facts in ROLES},
    )


class Gluster(Section):
    volume: DnsLabel = key("shared", "The name of the replicated volume.")
    mount: Annotated[str, MOUNT] = key("/mnt/shared", "Where workers mount it.")


class Probe(Section):
    # Half of it is the mean error of every outage that is measured; 20 ms costs a few % of one core.
    interval: Annotated[int, duration_between("1ms", "10s")] = key(
        "20ms", "Between probes: the resolution of every figure."
    )
    timeout: Annotated[int, duration_between("10ms", "1m")] = key(
        "900ms", "Longest wait for one probe's answer; below the 1 s after which Linux repeats a lost SYN."
    )


class FailoverConfig(Section):
    probe: Probe = key({}, "How a client's view is sampled.")
    budgets: Mapping[DnsLabel, Annotated[int, duration_between("1ms", "1h")]] = key(
        {}, "Largest allowed outage of each scenario, over the defaults (`./lab failover-test --list`)."
    )


class Config(Section):
    """One lab."""

    name: Annotated[str, label(LAB_NAME_MAX, letter_first=True)] = Field(description="The lab's name, unique here.")
    domain: Annotated[str, DOMAIN] = key("kube.demo", "The DNS domain of all its machines.")
    os: Annotated[str, choice(*OPERATING_SYSTEMS)] = key("debian-13", "What the base box is made of.")
    provider: Annotated[str, choice(*PROVIDERS)] = key("auto", "What runs the machines. auto: the first that works.")
    uplink: Annotated[Literal["none", "nat"], choice("none", "nat")] = key(
        "none", "none: closed, the box holds all it needs. nat: machines reach the outside through gateway and host."
    )
    dns: Dns = key({}, "Name service.")
    management: Annotated[IPv4Network, CIDR] = key("10.77.0.0/16", "How the host reaches the machines. /20 or larger.")
    wan: Annotated[IPv4Network, CIDR] = key("198.51.100.0/24", "Between the gateway and the host.")
    networks: Mapping[NetworkName, NetworkConfig] = key(
        {
            "dmz": {"cidr": "192.168.4.0/24"},
            "mast": {"cidr": "192.168.1.0/24"},
            "node": {"cidr": "192.168.2.0/24", "reserved": ["192.168.2.2-192.168.2.126"]},
            "glus": {"cidr": "192.168.3.0/24"},
        },
        "The lab's networks. Naming one replaces all of the default ones.",
    )
    client_network: OptionalNetworkName = key(
        None, "The one network on which clients stand (at its first address). Default: the balancers', else the first."
    )
    nodes: NodesByRole = Field(description="The machines, by role.")
    load_balancer: LoadBalancerConfig | None = key(None, "The balancer pair, its floating IP and services.")
    gluster: Gluster | None = key(None, "The storage that workers share.")
    kubernetes: KubernetesConfig | None = key(None, "A Kubernetes cluster on masters and workers. Default: none.")
    wait: Annotated[int, duration_between("10s", "1h")] = key(
        "2m", "How long a machine that provisions itself waits for another one, before it gives up."
    )
    failover: FailoverConfig = key({}, "How failures are measured and judged.")

    _source: YamlFile = PrivateAttr(default=YamlFile("config", {}, {}))

    @model_validator(mode="before")
    @classmethod
    def _named_is_wanted(cls, value: Any) -> Any:
        """``kubernetes:`` with nothing behind it asks for Kubernetes as it comes, as with a role."""
        if isinstance(value, dict) and "kubernetes" in value and value["kubernetes"] is None:
            return {**value, "kubernetes": {}}
        return value

    def without_kubernetes(self) -> Config:
        """The same lab with no cluster in it."""
        return self._with_kubernetes(None)

    def without_ingress(self) -> Config:
        """The same lab with nothing that serves its cluster's Ingresses."""
        return self._with_kubernetes(self.kubernetes and self.kubernetes.model_copy(update={"ingress": "none"}))

    def _with_kubernetes(self, kubernetes: KubernetesConfig | None) -> Config:
        other = self.model_copy(update={"kubernetes": kubernetes})
        other._source = self._source
        return other

    def has(self, role: Role) -> bool:
        """Whether there is a machine of that role."""
        nodes = self.nodes.of(role)
        return nodes is not None and nodes.count != 0

    @property
    def has_ingress(self) -> bool:
        """Whether the floating IP is to serve the cluster's Ingresses."""
        wished = self.kubernetes is not None and self.kubernetes.ingress != "none"
        return wished and self.has("lb") and self.has("worker")

    @property
    def balancer(self) -> LoadBalancerConfig:
        return self.load_balancer or LoadBalancerConfig()

    def balancer_ms(self, section: str, name: str) -> int:
        """A time of the balancers' stack: as written in the file, else the profile's, else the default."""
        settings = getattr(self.balancer, section) if section else self.balancer
        value: int = getattr(settings, name)
        path: KeyPath = ("load_balancer", section, name) if section else ("load_balancer", name)
        if self.balancer.profile == "extreme" and not self.is_written(path):
            return EXTREME.get(f"{section}.{name}".lstrip("."), value)
        return value

    @property
    def storage(self) -> Gluster:
        return self.gluster or Gluster()

    @property
    def default_budgets(self) -> Mapping[str, int]:
        return BUDGETS_MS

    @property
    def services(self) -> tuple[ServiceConfig, ...]:
        """What is balanced: as written, else etcd where there are masters; and in any case the API of Kubernetes where
        there is one, and its Ingresses where their ports are free. None without balancers."""
        if not self.has("lb"):
            return ()
        has_masters = self.has("master")
        chosen: tuple[ServiceConfig, ...] = (ServiceConfig.model_validate(ETCD),) if has_masters else ()
        if self.load_balancer is not None and self.load_balancer.services is not None:
            chosen = self.load_balancer.services
        if self.kubernetes is not None and has_masters and API_SERVICE not in {service.name for service in chosen}:
            chosen += (ServiceConfig.model_validate(API),)
        return chosen + self._ingress_services(chosen) if self.has_ingress else chosen

    def _ingress_services(self, others: tuple[ServiceConfig, ...]) -> tuple[ServiceConfig, ...]:
        """What leads to the ingress controller, less what the lab has ports or names in use for."""
        stats = self.balancer.stats_port
        ports = {stats, *(service.port for service in others)}
        host_ports = {stats + 10_000, *(host_port_of(service) for service in others)}
        names = {service.name for service in others}
        free = [wanted for wanted in INGRESS if wanted["port"] not in ports and wanted["name"] not in names]
        services = (ServiceConfig.model_validate(wanted) for wanted in free)
        return tuple(
            service.model_copy(update={"host_port": 0}) if host_port_of(service) in host_ports else service
            for service in services
        )

    def is_written(self, path: KeyPath) -> bool:
        """Whether ``path`` stands in the file, and is not a default."""
        return self._source.has(path)

    def problem(self, path: KeyPath, text: str) -> Problem:
        """A Problem at ``path`` of the file that this config was read from."""
        return self._source.problem(path, text)


def load_config(path: Path) -> Config:
    """The lab described by the file at ``path``. Raises ``ConfigError`` with everything that is wrong.

    Where keys cannot be read at all, what the rest of the file means is still worked out, so that problems
    of both kinds are told at once.
    """
    source = load_yaml(path)
    try:
        return parse_config(source)
    except ValidationError as error:
        problems = [source.problem(where, text) for where, text in explain(error, Config)]
        problems += _problems_elsewhere(source, error)
        order = sorted(set(problems), key=lambda problem: (problem.line, problem.path))
        raise ConfigError(order) from None


def parse_config(source: YamlFile) -> Config:
    """``source`` as a ``Config``. Raises pydantic's ``ValidationError``."""
    config = Config.model_validate(source.data)
    config._source = source
    return config


def _problems_elsewhere(source: YamlFile, error: ValidationError) -> list[Problem]:
    """What planning says about the file without its unreadable keys, as far as those have no part in it."""
    data, tainted = without_bad_keys(copy.deepcopy(dict(source.data)), error, Config)
    networks = any(path[0] in ("networks", "management", "wan", "client_network") for path in tainted)
    if networks:
        data.pop("networks", None)
    try:
        config = parse_config(YamlFile(source.name, data, source.lines))
        found = check_without_networks(config)
        if not networks:
            plan_topology(config)
    except ValidationError:
        return []  # a key that must be there was among them
    except ConfigError as planning:
        found = list(planning.problems)
    shadows = tuple(dotted(path[:2]) for path in tainted)
    return [problem for problem in found if not _in(problem.path, shadows)]


def _in(path: str, shadows: tuple[str, ...]) -> bool:
    return any(path == shadow or path.startswith((f"{shadow}.", f"{shadow}[")) for shadow in shadows)


def json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of a lab's file, as kept in ``config/schema.json``."""
    schema = Config.model_json_schema()
    _drop_null_defaults(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "rackbox lab"}


def _drop_null_defaults(node: Any) -> None:
    """``default: null`` would say that null is a good value to write."""
    if isinstance(node, dict):
        if node.get("default", 0) is None:
            del node["default"]
        for child in node.values():
            _drop_null_defaults(child)
    elif isinstance(node, list):
        for child in node:
            _drop_null_defaults(child)


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))

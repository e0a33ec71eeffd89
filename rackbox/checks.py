"""What a config must be beyond each key for itself: counts, references, names and ports that meet only here.

``check_config`` is the entry point: pure, all problems at once. Addresses are ``addresses``' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from rackbox.config_kubernetes import API_PORT, API_SERVICE, INGRESS_LABEL
from rackbox.durations import format_duration, format_size
from rackbox.errors import Problem
from rackbox.roles import BOX_VOLUMES, ROLE_FACTS, ROLES, RoleFacts

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network

    from rackbox.config import Config, RoleNodes
    from rackbox.config_balancer import Keepalived, ServiceConfig
    from rackbox.yamlfile import KeyPath

# HAProxy binds every address of its machine (it must be able to before it holds the floating IP): sshd and some others
# are there already.
PORTS_TAKEN = {22: "sshd", 53: "systemd-resolved", 2224: "pcsd", 3121: "pacemaker_remoted"}
MANAGEMENT_PREFIX_MAX = 20
LEAST_XFS_MIB = 512
"""mkfs.xfs refuses less than 300 MB (xfsprogs 5.19 and newer)."""
POOL = "pool"
"""The logical volume beside a volume that has a disk of its own (``provision/common/06-make-pools.sh``)."""
LVM_PREFIXES = ("snapshot", "pvmove")
"""Names that are LVM's own (lvm(8), "Valid names")."""
KNET_AUTO_TOKEN_MS = 400
"""libknet refuses a ping's timeout below 200 ms, its timers' resolution; Corosync's own is half of the token (libknet's
links.c, Corosync's totemknet.c; seen: exit status 8)."""


def check_config(config: Config) -> list[Problem]:
    """Everything that is wrong with how the keys of ``config`` fit together."""
    found = [*_networks(config), *_places(config), *_kubernetes_networks(config)]
    return [config.problem(path, text) for path, text in found] + check_without_networks(config)


def check_without_networks(config: Config) -> list[Problem]:
    """What can be said of a config whose networks cannot be read."""
    found = [*_roles(config), *_names(config), *_load_balancer(config), *_services(config), *_storage(config)]
    found += [*_budgets(config), *_kubernetes(config)]
    return [config.problem(path, text) for path, text in found]


Found = Iterator[tuple["KeyPath", str]]


def _networks(config: Config) -> Found:
    if not config.networks:
        yield ("networks",), "must name at least one network; got none"
    if config.client_network is not None and config.client_network not in config.networks:
        yield ("client_network",), f"must be one of {_list(config.networks)}; got {config.client_network}"
    if config.management.prefixlen > MANAGEMENT_PREFIX_MAX:
        text = f"must be /{MANAGEMENT_PREFIX_MAX} or larger (256 addresses a role); got {config.management}"
        yield ("management",), text
    yield from _overlaps(config)
    for name, network in config.networks.items():
        for first, last in network.reserved:
            if first not in network.cidr or last not in network.cidr:
                yield ("networks", name, "reserved"), f"must be inside of {network.cidr}; got {first}-{last}"


def _overlaps(config: Config) -> Found:
    """One problem for each network that overlaps another: at the one that is written, or written later."""
    places: list[tuple[KeyPath, str]] = [(("management",), "management"), (("wan",), "wan")]
    places += [(("networks", name, "cidr"), name) for name in config.networks]
    cidrs = [config.management, config.wan, *(network.cidr for network in config.networks.values())]
    # Sorted by start, a network overlaps one before it only if it overlaps the one that reaches farthest: no n².
    order = sorted(range(len(cidrs)), key=lambda at: (int(cidrs[at].network_address), cidrs[at].prefixlen))
    widest = order[0]
    blamed = set()
    for at in order[1:]:
        if cidrs[at].overlaps(cidrs[widest]):
            other, one = sorted((at, widest), key=lambda place: (config.is_written(places[place][0]), place))
            if one not in blamed:
                blamed.add(one)
                yield places[one][0], f"must not overlap {places[other][1]} ({cidrs[other]}); got {cidrs[one]}"
        if cidrs[at].broadcast_address > cidrs[widest].broadcast_address:
            widest = at


def _roles(config: Config) -> Found:
    for facts in ROLES:
        nodes = config.nodes.of(facts.role)
        if nodes is None:
            if not facts.allows(0):
                yield ("nodes", facts.role), f"must be there, {facts.rule}; got nothing"
            continue
        yield from _role_counts(facts, nodes)
        yield from _role_volumes(facts, nodes, cluster=config.kubernetes is not None)


def _role_counts(facts: RoleFacts, nodes: RoleNodes) -> Found:
    count = facts.count_of(nodes)
    here: KeyPath = ("nodes", facts.role)
    said_by = next((key for key in ("count", "names", "addresses") if getattr(nodes, key) is not None), "count")
    if not facts.allows(count):
        yield (*here, said_by), f"must be {facts.rule}; got {count}"
    for key in ("names", "addresses"):
        given = getattr(nodes, key)
        if given is not None and key != said_by and len(given) != count:
            yield (*here, key), f"must be {count}, as many as {said_by} says; got {len(given)}"


def _places(config: Config) -> Found:
    for facts in ROLES:
        nodes = config.nodes.of(facts.role)
        if nodes is not None:
            yield from _role_place(config, facts, nodes)


def _role_place(config: Config, facts: RoleFacts, nodes: RoleNodes) -> Found:
    here: KeyPath = ("nodes", facts.role)
    if not facts.network:
        for key in ("network", "first_address", "addresses"):
            value = getattr(nodes, key)
            if value is not None:
                shown = value if key != "addresses" else _list(value)
                hint = "its addresses are networks.<name>.gateway"
                yield (*here, key), f"must not be given: the {facts.role} stands on every network, {hint}; got {shown}"
        return
    network = facts.network_of(config)
    if network not in config.networks:
        yield (*here, "network"), f"must be one of {_list(config.networks)}; got {network}"
    if nodes.addresses is not None and nodes.first_address is not None:
        yield (*here, "first_address"), f"must not be given beside addresses; got {nodes.first_address}"


def _role_volumes(facts: RoleFacts, nodes: RoleNodes, *, cluster: bool) -> Found:
    defaults = facts.volumes_of(cluster=cluster)
    mounts = {volume.mount: volume.name for volume in defaults if volume.name not in nodes.volumes}
    own = BOX_VOLUMES | {volume.name: volume.mount for volume in defaults}
    mounts |= {mount: name for name, mount in BOX_VOLUMES.items() if name not in nodes.volumes}
    for name, volume in nodes.volumes.items():
        here: KeyPath = ("nodes", facts.role, "volumes", name)
        mount = volume.mount or own.get(name)
        if name in BOX_VOLUMES and mount != BOX_VOLUMES[name]:
            yield (*here, "mount"), f"must be {BOX_VOLUMES[name]}, where the box has it; got {mount}"
        elif mount is None:
            yield (*here, "mount"), "must be given; got nothing"
        elif mount in mounts:
            yield (*here, "mount"), f"must be another path: {mounts[mount]} is there; got {mount}"
        else:
            mounts[mount] = name
        usual = next((item for item in defaults if item.name == name), None)
        on_disk = volume.disk is not None or (usual is not None and usual.own_disk)
        if on_disk and volume.size < LEAST_XFS_MIB:
            least = format_size(LEAST_XFS_MIB)
            yield (*here, "size"), f"must be {least} or more on a disk of its own (XFS); got {format_size(volume.size)}"
        if on_disk and name == POOL:
            yield here, f"must have another name: the thin pool on its disk is called so; got {name}"
        if name.startswith(LVM_PREFIXES):
            yield here, f"must have another name: LVM keeps what begins with {_list(LVM_PREFIXES)}; got {name}"
        if volume.disk is not None and name in BOX_VOLUMES:
            yield (
                (*here, "disk"),
                f"must not be given: {name} lies on the box's own disk; got {format_size(volume.disk)}",
            )


def _names(config: Config) -> Found:
    """Every name in the lab's domain stands for one thing."""
    owners: dict[str, str] = {INGRESS_LABEL: "the domain of the Ingresses"} if config.has_ingress else {}
    for facts in ROLES:
        nodes = config.nodes.of(facts.role)
        written = nodes is not None and nodes.names is not None
        for index, name in enumerate(facts.names_of(nodes)):
            path: KeyPath = ("nodes", facts.role, "names", index) if written else ("nodes", facts.role)
            if name in owners:
                yield path, f"must be unique; {name} is {owners[name]} already; got {name}"
            owners.setdefault(name, f"a {facts.role}" if facts.role != "lb" else "an lb")
    if config.nodes.of("lb") is None:
        return
    vip = config.balancer.name
    if vip in owners:
        yield ("load_balancer", "name"), f"must be unique; {vip} is {owners[vip]} already; got {vip}"
    owners.setdefault(vip, "the floating IP")
    for index, service in enumerate(config.services):
        if service.name in owners:
            text = f"must be unique; {service.name} is {owners[service.name]} already; got {service.name}"
            yield ("load_balancer", "services", index, "name"), text
        owners.setdefault(service.name, "a service")


def _load_balancer(config: Config) -> Found:
    balancer = config.load_balancer
    if balancer is None:
        return
    if ROLE_FACTS["lb"].count_of(config.nodes.of("lb")) == 0:
        yield ("load_balancer",), "must come with two machines to run on (nodes.lb); got none"
    if balancer.stats_port in PORTS_TAKEN:
        taken = PORTS_TAKEN[balancer.stats_port]
        yield ("load_balancer", "stats_port"), f"must be another port: {taken} has it; got {balancer.stats_port}"
    if balancer.haproxy.runs_on == "holder" and balancer.ha != "pacemaker":
        yield ("load_balancer", "haproxy", "runs_on"), f"must be both with ha: {balancer.ha}; got holder"
    if balancer.corosync.join >= balancer.corosync.consensus:  # corosync.conf(5)
        consensus, join = format_duration(balancer.corosync.consensus), format_duration(balancer.corosync.join)
        yield ("load_balancer", "corosync", "join"), f"must be below consensus ({consensus}); got {join}"
    token = config.balancer_ms("corosync", "token")
    if balancer.ha == "pacemaker" and balancer.corosync.knet_ping == "auto" and token < KNET_AUTO_TOKEN_MS:
        text = (
            f"must be tuned where the token ({format_duration(token)}) is below {format_duration(KNET_AUTO_TOKEN_MS)}: "
            "knet refuses to wait half of it for its ping, and Corosync does not start; got auto"
        )
        yield ("load_balancer", "corosync", "knet_ping"), text
    yield from _keepalived(balancer.keepalived)


def _keepalived(keepalived: Keepalived) -> Found:
    """What VRRP and keepalived's own file cannot say."""
    here: KeyPath = ("load_balancer", "keepalived")
    if keepalived.advert % 10:  # RFC 9568, 5.2.7: centiseconds
        yield (*here, "advert"), f"must be a multiple of 10ms; got {format_duration(keepalived.advert)}"
    script = keepalived.script
    if keepalived.check == "script" and not all(1 <= own + script.weight <= 254 for own in keepalived.priorities):
        yield (*here, "script", "weight"), f"must leave both priorities between 1 and 254; got {script.weight}"
    if script.interval % 1000:  # keepalived.conf(5): vrrp_script's interval counts seconds
        yield (*here, "script", "interval"), f"must be whole seconds; got {format_duration(script.interval)}"


def _services(config: Config) -> Found:
    ports = {**PORTS_TAKEN, config.balancer.stats_port: "the statistics page"}
    host_ports: dict[int, str] = {}
    for index, service in enumerate(config.services):
        here: KeyPath = ("load_balancer", "services", index)
        if service.port in ports:
            yield (*here, "port"), f"must be another port: {ports[service.port]} has it; got {service.port}"
        else:
            ports[service.port] = service.name
            yield from _host_port(here, service, host_ports)
        count = ROLE_FACTS[service.backend].count_of(config.nodes.of(service.backend))
        if count == 0:
            yield (*here, "backend"), f"must be a role that the lab has; got {service.backend}"
        check = service.check
        if check.type in ("http", "https") and check.path is None:
            yield (*here, "check", "path"), f"must be given for {check.type}; got nothing"
        if check.type == "tcp" and check.path is not None:
            yield (*here, "check", "path"), f"must not be given for tcp; got {check.path}"
        if check.type not in ("http", "https") and check.path is None and check.first_port is not None:
            yield (*here, "check", "first_port"), f"must not be given for tcp; got {check.first_port}"
        if (check.first_port is None) != (check.first_path is None):
            yield (*here, "check", "first_port"), "must be given together with first_path; got one of them"
        if check.fast_interval > check.interval:
            interval, fast = format_duration(check.interval), format_duration(check.fast_interval)
            yield (*here, "check", "fast_interval"), f"must be at most interval ({interval}); got {fast}"


def host_port_of(service: ServiceConfig) -> int:
    """The port on the host's 127.0.0.1 that leads to ``service``; 0 for none."""
    return service.port + 10_000 if service.host_port is None else service.host_port


def _host_port(here: KeyPath, service: ServiceConfig, taken: dict[int, str]) -> Found:
    port = host_port_of(service)
    if port > 65535:
        yield (*here, "host_port"), f"must be given, or 0 for none: 10000 + {service.port} is no port; got {port}"
    elif port in taken:
        yield (*here, "host_port"), f"must be another port: {taken[port]} has it; got {port}"
    elif port:
        taken[port] = service.name


def _storage(config: Config) -> Found:
    if config.gluster is not None and ROLE_FACTS["gluster"].count_of(config.nodes.of("gluster")) == 0:
        yield ("gluster",), "must come with machines to run on (nodes.gluster); got none"


def _budgets(config: Config) -> Found:
    known = config.default_budgets
    for name in config.failover.budgets:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; scenarios: {', '.join(known)}"
            yield ("failover", "budgets", name), f"unknown scenario{meant}"


def pool_of(config: Config) -> tuple[tuple[IPv4Address, IPv4Address], ...]:
    """The addresses for LoadBalancer services: as written, else what the workers' network keeps free."""
    if config.kubernetes is not None and config.kubernetes.pool is not None:
        return config.kubernetes.pool
    network = config.networks.get(ROLE_FACTS["worker"].network_of(config))
    return tuple(network.reserved) if network is not None else ()


# What a kubelet, a runtime, flannel and kube-proxy need beside the pods, and what a control plane does: seen in this
# project's own labs, and rounded up.
STACKED_MASTERS_MIN = 3  # with fewer, a master that is lost takes the cluster's data, or its majority, along
DOCKER_OS = "debian-13"  # whose libraries its programs want: bundle_recipe.SUITE
NODE_MEMORY_MIN = {"master": 1536, "worker": 768}
MASKED_NODES_BITS = 24  # each machine's share of the pods' addresses is a /24


def _kubernetes(config: Config) -> Found:
    """What a cluster needs of the machines."""
    wished = config.kubernetes
    if wished is None or wished.source == "none":
        return
    counts = {role: ROLE_FACTS[role].count_of(config.nodes.of(role)) for role in ("lb", "master", "worker")}
    for role, what in (("master", "for its control plane"), ("worker", "for its pods")):
        if counts[role] == 0:
            yield ("kubernetes",), f"must come with machines {what} (nodes.{role}); got none"
    if counts["master"] > 1 and counts["lb"] == 0:
        yield (
            ("kubernetes",),
            f"must come with balancers before several masters (nodes.lb); got {counts['master']} masters",
        )
    if wished.etcd == "stacked" and counts["master"] < STACKED_MASTERS_MIN:
        text = f"must come with {STACKED_MASTERS_MIN} masters or more (nodes.master); got {counts['master']}"
        yield ("kubernetes", "etcd"), text
    if wished.runtime == "docker" and config.os != DOCKER_OS:
        text = f"must be containerd with os: {config.os} (bundles have Docker Engine as {DOCKER_OS} has it); got docker"
        yield ("kubernetes", "runtime"), text
    for role, least in NODE_MEMORY_MIN.items():
        nodes = config.nodes.of(role)
        memory = nodes.memory if nodes is not None else None
        if memory is not None and memory < least:
            text = f"must be at least {format_size(least)} with kubernetes; got {format_size(memory)}"
            yield ("nodes", role, "memory"), text
    if wished.bundle is not None and wished.source not in ("auto", "bundle"):
        yield ("kubernetes", "bundle"), f"must not be given beside source: {wished.source}; got {wished.bundle}"
    if counts["lb"]:
        yield from _api_service(config)
    elif wished.ingress != "none" and config.is_written(("kubernetes", "ingress")):
        text = f"must come with balancers, whose ports 80 and 443 lead to it (nodes.lb); got {wished.ingress}"
        yield ("kubernetes", "ingress"), text


def _api_service(config: Config) -> Found:
    """Where the lab lists the API among its services itself, it must be the one that the machines ask."""
    for index, service in enumerate(config.services):
        here: KeyPath = ("load_balancer", "services", index)
        if service.name != API_SERVICE:
            continue
        for name, value in (("port", service.port), ("backend_port", service.backend_port or service.port)):
            if value != API_PORT:
                yield (*here, name), f"must be {API_PORT}, where the machines ask for the API; got {value}"
        if service.backend != "master":
            yield (*here, "backend"), f"must be master, where the API servers are; got {service.backend}"


def _kubernetes_networks(config: Config) -> Found:
    wished = config.kubernetes
    if wished is None or wished.source == "none":
        return
    others = [("management", config.management), ("wan", config.wan)]
    others += [(f"networks.{name}", network.cidr) for name, network in config.networks.items()]
    for key in ("pod_network", "service_network"):
        cidr: IPv4Network = getattr(wished, key)
        for name, other in others:
            if cidr.overlaps(other):
                yield ("kubernetes", key), f"must not overlap {name} ({other}); got {cidr}"
                break
        others.append((f"kubernetes.{key}", cidr))
    nodes = sum(ROLE_FACTS[role].count_of(config.nodes.of(role)) for role in ("master", "worker"))
    room = 2 ** max(MASKED_NODES_BITS - wished.pod_network.prefixlen, 0) if wished.pod_network.prefixlen <= 24 else 0
    if room < nodes:
        text = f"must have room for {nodes} machines, a /{MASKED_NODES_BITS} each; got {wished.pod_network} ({room})"
        yield ("kubernetes", "pod_network"), text
    if wished.service_network.prefixlen > 24 or wished.service_network.prefixlen < 12:
        yield ("kubernetes", "service_network"), f"must be from /12 to /24; got {wished.service_network}"
    yield from _pool(config)


def _pool(config: Config) -> Found:
    """The pool must lie in the workers' network, where it can be announced, and be kept free of machines."""
    wished = config.kubernetes
    home = ROLE_FACTS["worker"].network_of(config)
    network = config.networks.get(home)
    if wished is None or wished.pool is None or network is None:
        return
    for first, last in wished.pool:
        if first not in network.cidr or last not in network.cidr:
            yield ("kubernetes", "pool"), f"must be inside of {home} ({network.cidr}), the workers'; got {first}-{last}"
        elif not any(low <= first and last <= high for low, high in network.reserved):
            text = f"must be inside of networks.{home}.reserved, or machines may get them; got {first}-{last}"
            yield ("kubernetes", "pool"), text


def _list(items: object) -> str:
    return ", ".join(str(item) for item in items) if isinstance(items, (tuple, list, dict)) else str(items)

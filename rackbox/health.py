"""From what the machines say of themselves to one verdict. Pure.

``judge_lab`` gets each machine's status document (``/usr/local/lib/rackbox/status``; None when it does not answer) and
says what is wrong, machine by machine and for the lab as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rackbox.runtimes import runtime_of
from rackbox.topology import Node, Topology

Document = Mapping[str, Any]
Verdict = Literal["healthy", "degraded"]

SYSTEM_NAMESPACES = ("kube-system", "kube-flannel", "metallb-system", "ingress")

_KNOWING = ("lb", "master")
"""Roles whose documents the problems of the whole lab are seen in."""
POOL_WARN_PERCENT = 80.0

PARTS: Mapping[str, type] = {"provisioned": bool, "units": dict, "addresses": list, "dhcp": dict, "role": dict}
"""What a status document must hold, whatever the role."""


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One machine: what it does in a few words, every problem it has, and what will become one (``warnings``)."""

    name: str
    role: str
    address: str
    summary: str
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """What the API says of the cluster. ``nodes`` is ready or not, by name; ``waiting`` are the pods that are not
    ready, of ``pods`` in all."""

    nodes: Mapping[str, bool]
    pods: int
    waiting: tuple[str, ...]

    @property
    def summary(self) -> str:
        ready = sum(self.nodes.values())
        return f"{ready} of {len(self.nodes)} nodes ready, {self.pods - len(self.waiting)} of {self.pods} pods"


@dataclass(frozen=True, slots=True)
class LabHealth:
    """All machines, and what only the whole shows (two holders, no leader). ``cluster`` is None where there is none, or
    no API server to ask."""

    nodes: tuple[NodeHealth, ...]
    problems: tuple[str, ...]
    floating_ip_holder: str | None
    etcd_leader: str | None
    cluster: ClusterHealth | None = None

    @property
    def verdict(self) -> Verdict:
        return "healthy" if not self.all_problems else "degraded"

    @property
    def all_problems(self) -> list[str]:
        own = [f"{node.name}: {problem}" for node in self.nodes for problem in node.problems]
        return [*own, *self.problems]

    @property
    def in_question(self) -> frozenset[str]:
        """The machines to ask again: those with problems, and all that know of what is wrong with the whole."""
        whole = {node.name for node in self.nodes if self.problems and node.role in _KNOWING}
        return frozenset(whole | {node.name for node in self.nodes if node.problems})


def judge_lab(topology: Topology, documents: Mapping[str, Document | None]) -> LabHealth:
    """The lab's health from its machines' status documents."""
    nodes = tuple(_judge_node(topology, node, documents.get(node.name)) for node in topology.nodes)
    documents = {name: document for name, document in documents.items() if document and not _lacks(document)}
    holders = _who(topology, documents, "lb", "holds_vip")
    leaders = _who(topology, documents, "master", "leader")
    problems = []
    if topology.load_balancer is not None and len(holders) != 1:
        address = topology.load_balancer.floating_ip.address.ip
        problems.append(f"floating IP {address}: must have one holder; has {', '.join(holders) or 'none'}")
    if topology.by_role("master") and len(leaders) != 1:
        problems.append(f"etcd: must have one leader; has {', '.join(leaders) or 'none'}")
    holder = holders[0] if len(holders) == 1 else None
    cluster = _see_cluster(topology, documents)
    problems += _judge_cluster(topology, cluster)
    return LabHealth(nodes, tuple(problems), holder, leaders[0] if len(leaders) == 1 else None, cluster)


def _see_cluster(topology: Topology, documents: Mapping[str, Document | None]) -> ClusterHealth | None:
    """The cluster as the first master sees it whose API server is ready."""
    if topology.kubernetes is None:
        return None
    for node in topology.by_role("master"):
        role = (documents.get(node.name) or {}).get("role", {})
        if role.get("api_ready"):
            return ClusterHealth(role.get("nodes", {}), role.get("pods", 0), tuple(role.get("pods_waiting", ())))
    return None


def _judge_cluster(topology: Topology, cluster: ClusterHealth | None) -> list[str]:
    """Nodes that are lacking or not ready, and pods of the system's own: all others are their users' affair."""
    if topology.kubernetes is None:
        return []
    if cluster is None:
        return ["Kubernetes: no API server is ready"]
    names = [node.name for node in topology.kubernetes_nodes]
    problems = []
    if lacking := [name for name in names if name not in cluster.nodes]:
        problems.append(f"Kubernetes: not in the cluster: {', '.join(lacking)}")
    if unready := [name for name in names if not cluster.nodes.get(name, True)]:
        problems.append(f"Kubernetes: not ready: {', '.join(unready)}")
    own = [pod for pod in cluster.waiting if pod.split("/")[0] in SYSTEM_NAMESPACES]
    if own:
        problems.append(f"Kubernetes: pods that are not ready: {', '.join(own)}")
    if not cluster.pods:
        problems.append("Kubernetes: no pods yet")
    return problems


def health_json(topology: Topology, health: LabHealth) -> dict[str, Any]:
    """The document of `invoke status --json` (``schema`` 1): verdict, problems, one entry a machine."""
    return {
        "schema": 1,
        "lab": topology.lab,
        "verdict": health.verdict,
        "problems": health.all_problems,
        "floating_ip_holder": health.floating_ip_holder,
        "etcd_leader": health.etcd_leader,
        "kubernetes": None
        if health.cluster is None
        else {
            "nodes": dict(health.cluster.nodes),
            "pods": health.cluster.pods,
            "pods_waiting": list(health.cluster.waiting),
        },
        "machines": [
            {
                "name": node.name,
                "role": node.role,
                "address": node.address,
                "healthy": node.healthy,
                "summary": node.summary,
                "problems": list(node.problems),
                "warnings": list(node.warnings),
            }
            for node in health.nodes
        ],
    }


def _judge_node(topology: Topology, node: Node, document: Document | None) -> NodeHealth:
    if document is None:
        return NodeHealth(node.name, node.role, str(node.address), "does not answer", ("does not answer",))
    if lacking := _lacks(document):
        problem = f"its status lacks {', '.join(lacking)}"
        return NodeHealth(node.name, node.role, str(node.address), "status cannot be read", (problem,))
    problems = []
    if hook := document.get("failed_hook"):
        problems.append(f"hook {hook} failed")
    elif not document["provisioned"]:
        problems.append("is not provisioned yet")
    problems += [f"{unit} is {state}" for unit, state in document["units"].items() if state != "active"]
    for nic in node.nics:
        lease = document["dhcp"].get(nic.network)
        if nic.dhcp and lease != str(nic.address):
            problems.append(f"{nic.network}: must hold the lease {nic.address}; has {lease or 'none'}")
        if not nic.dhcp and str(nic.address) not in document["addresses"]:
            problems.append(f"{nic.network}: must have the address {nic.address}")
    summary, more = _ROLES.get(node.role, _plain)(topology, document["role"])
    warnings = tuple(_pool_warnings(document["role"]))
    return NodeHealth(node.name, node.role, str(node.address), summary, (*problems, *more), warnings)


def _lacks(document: Document) -> list[str]:
    """The parts that are not there, or not what they must be: a full disk cuts a document off."""
    return [name for name, kind in PARTS.items() if not isinstance(document.get(name), kind)]


def _gateway(topology: Topology, role: Document) -> tuple[str, list[str]]:
    wanted = sum(nic.dhcp for node in topology.nodes for nic in node.nics)
    leases = role.get("leases", 0)
    return f"{leases} leases", [] if leases >= wanted else [f"leases: must be {wanted}; got {leases}"]


def _lb(topology: Topology, role: Document) -> tuple[str, list[str]]:
    balancer = topology.load_balancer
    keepalived = balancer is not None and balancer.ha == "keepalived"
    holds = bool(role.get("holds_vip"))
    problems = _keepalived(role) if keepalived else _pacemaker(topology, role)
    summary = "holds the floating IP" if holds else "stands by"
    if balancer is not None and balancer.haproxy_on == "holder" and not holds:
        return summary, problems  # its HAProxy comes with the floating IP
    backends = role.get("haproxy_backends", {})
    wanted = sum(len(service.backends) for service in topology.services)
    down = [name for name, state in backends.items() if not state.startswith("UP")]
    problems += [f"backend {name} is {backends[name]}" for name in down]
    if len(backends) < wanted:
        problems.append(f"backends: must be {wanted}; got {len(backends)}")
    return f"{summary}, {len(backends) - len(down)}/{wanted} backends up", problems


def _pacemaker(topology: Topology, role: Document) -> list[str]:
    problems = [] if role.get("quorate") else ["cluster: no quorum"]
    wanted = sorted(node.name for node in topology.by_role("lb"))
    online = sorted(role.get("online", []))
    if online != wanted:
        problems.append(f"cluster: {', '.join(wanted)} must be online; online: {', '.join(online) or 'none'}")
    if role.get("third_vote", True) is not True:
        problems.append("cluster: the quorum device has no vote")
    return problems


def _keepalived(role: Document) -> list[str]:
    """keepalived's own word must fit what the network card shows; FAULT, or nothing, is no readiness."""
    wanted = "MASTER" if role.get("holds_vip") else "BACKUP"
    state = role.get("vrrp") or "none"
    return [] if state == wanted else [f"VRRP state: must be {wanted}; got {state}"]


def _master(topology: Topology, role: Document) -> tuple[str, list[str]]:
    wanted = len(topology.by_role("master"))
    problems = [] if role.get("etcd_healthy") else ["etcd is not healthy"]
    if role.get("members") != wanted:
        problems.append(f"etcd members: must be {wanted}; got {role.get('members')}")
    summary = "etcd leader" if role.get("leader") else "etcd follower"
    if topology.kubernetes is None:
        return summary, problems
    if not role.get("api_ready"):
        problems.append("its API server is not ready")
    problems += _runtime_problems(topology, role)
    return f"{summary}, API server {'ready' if role.get('api_ready') else 'not ready'}", problems


def _gluster(topology: Topology, role: Document) -> tuple[str, list[str]]:
    count = len(topology.by_role("gluster"))
    peers, bricks, heal = (role.get(key) for key in ("peers_connected", "bricks_online", "heal_pending"))
    problems = []
    if peers != count - 1:
        problems.append(f"gluster peers connected: must be {count - 1}; got {peers}")
    if topology.gluster_volume and bricks != 1:
        problems.append(f"its gluster brick is not online; online here: {bricks}")
    if heal:
        problems.append(f"gluster: {heal} entries to heal")
    full = role.get("pool_data_percent")
    pool = "" if full is None else f", pool {full:.0f} % full"
    return f"brick {'online' if bricks else 'offline'}, {peers} peers, {heal} to heal{pool}", problems


def _pool_warnings(role: Document) -> list[str]:
    """How full a brick's thin pool is, where it lies in one; told before writes begin to fail."""
    hint = "raise nodes.gluster.volumes.brick.disk"
    return [
        f"the brick's pool: its {what} are {percent:.0f} % full, at 100 % writes fail: {hint}"
        for what in ("data", "metadata")
        if (percent := role.get(f"pool_{what}_percent")) is not None and percent >= POOL_WARN_PERCENT
    ]


def _worker(topology: Topology, role: Document) -> tuple[str, list[str]]:
    problems = [] if role.get("containerd") else ["containerd does not answer"]
    mounted = bool(role.get("gluster_mounted"))
    if topology.gluster_volume and topology.by_role("gluster") and not mounted:
        problems.append(f"{topology.gluster_mount} is not mounted")
    problems += _runtime_problems(topology, role)
    return runtime_of(topology).name + (", shared volume mounted" if mounted else ""), problems


def _runtime_problems(topology: Topology, role: Document) -> list[str]:
    """What is wrong with what runs the containers on top of containerd."""
    asked = runtime_of(topology).name == "docker"
    return ["docker does not answer"] if asked and not role.get("docker") else []


def _plain(topology: Topology, role: Document) -> tuple[str, list[str]]:
    """A role of which only its units and addresses are judged."""
    return "up", []


_ROLES: dict[str, Callable[[Topology, Document], tuple[str, list[str]]]] = {
    "gateway": _gateway,
    "lb": _lb,
    "master": _master,
    "gluster": _gluster,
    "worker": _worker,
}


def _who(topology: Topology, documents: Mapping[str, Document | None], role: str, key: str) -> list[str]:
    names = [node.name for node in topology.nodes if node.role == role]
    return [name for name in names if (document := documents.get(name)) and document["role"].get(key)]

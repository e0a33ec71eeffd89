"""Who a target means right now: ``vip-holder`` is a part in a play, and only the machines know who plays it.

Targets are data in scenarios and resolved at the moment of injection by asking the machines. Entry points:
``resolve_target``, ``find_holders``; ``list_candidates`` says who it could ever be, for healing what was left behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from rackbox.errors import LabError, MachineError
from rackbox.machine import Lab
from rackbox.topology import Role, Topology

STATUS = "/usr/local/lib/rackbox/status"
HOLDS = "# holds\nip -4 -oneline address show to {address}/32"
_STATUS_SECONDS = 5.0


class TargetUnclear(MachineError):
    """The part that a target names is played by nobody, or by more than one."""


@dataclass(frozen=True, slots=True)
class Part:
    """Exactly one machine of ``role`` says ``fact`` of itself. The part is its (``plays``) or the first other's."""

    role: Role
    fact: str
    plays: bool


PARTS: dict[str, Part] = {
    "vip-holder": Part("lb", "holds_vip", plays=True),
    "vip-standby": Part("lb", "holds_vip", plays=False),
    "etcd-leader": Part("master", "leader", plays=True),
    "etcd-follower": Part("master", "leader", plays=False),
}


@dataclass(frozen=True, slots=True)
class ClusterPart:
    """A part that the Kubernetes API knows: ``script`` prints the name of the machine that plays it, and of ``roles``
    it may be. Asked on a master, of the API server beside it."""

    roles: tuple[Role, ...]
    script: str


_ASK = (
    "kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://127.0.0.1:6443 --request-timeout=4s get {words}\n"
)
_NODE = "--field-selector=status.phase=Running --output=jsonpath='{.items[0].spec.nodeName}'"
CLUSTER_PARTS: dict[str, ClusterPart] = {
    "controller-manager-leader": ClusterPart(
        ("master",),
        _ASK.format(
            words="lease kube-controller-manager --namespace=kube-system --output=jsonpath='{.spec.holderIdentity}'"
        ),
    ),
    "coredns-host": ClusterPart(
        ("master", "worker"), _ASK.format(words=f"pods --namespace=kube-system --selector=k8s-app=kube-dns {_NODE}")
    ),
    "service-host": ClusterPart(
        ("worker",), _ASK.format(words=f"pods --namespace=default --selector=rackbox-probe=http {_NODE}")
    ),
}
ANY: dict[str, Role] = {"any-master": "master", "any-worker": "worker", "any-gluster": "gluster"}
ALL: dict[str, Role] = {"balancers": "lb", "gateways": "gateway"}


def target_names() -> tuple[str, ...]:
    return (*PARTS, *CLUSTER_PARTS, *ANY, *ALL)


def list_candidates(topology: Topology, target: str) -> tuple[str, ...]:
    """Every machine that ``target`` could come to mean. Raises ``LabError`` for a target that means nothing here."""
    if target in PARTS:
        names = tuple(node.name for node in topology.by_role(PARTS[target].role))
    elif target in CLUSTER_PARTS:
        roles = CLUSTER_PARTS[target].roles
        names = tuple(node.name for node in topology.nodes if node.role in roles)
    elif target in ANY:
        names = tuple(node.name for node in topology.by_role(ANY[target]))
    elif target in ALL:
        names = tuple(node.name for node in topology.by_role(ALL[target]))
    else:
        names = tuple(node.name for node in topology.nodes if node.name == target)
    if not names:
        known = ", ".join((*target_names(), *(node.name for node in topology.nodes)))
        raise LabError(f"target {target}: no machine of this lab could be meant", f"one of: {known}")
    return names


def resolve_target(lab: Lab, target: str) -> tuple[str, ...]:
    """The machines that ``target`` means now. Raises ``TargetUnclear`` for none or too many, ``LabError`` as above."""
    names = list_candidates(lab.topology, target)
    if target in ALL:
        return names
    if target in CLUSTER_PARTS:
        return (_ask_cluster(lab, target, names),)
    if target not in PARTS:
        return names[:1]
    part = PARTS[target]
    facts = ask_all(lab, names)
    players = tuple(name for name in names if facts[name].get(part.fact) is True)
    if len(players) != 1:
        raise TargetUnclear(
            f"target {target}: must be true of exactly one of {', '.join(names)}: {part.fact}; "
            f"it is of {', '.join(players) or 'none'}",
            "`./lab status` shows what is wrong with the lab",
        )
    others = tuple(name for name in names if name not in players)
    if not part.plays and not others:
        raise TargetUnclear(f"target {target}: {players[0]} is the only machine of its role")
    return players if part.plays else others[:1]


def _ask_cluster(lab: Lab, target: str, names: Sequence[str]) -> str:
    """Whom the API names; a lease's holder is called after its machine, with more behind a ``_``."""
    said = "no API server answers"
    for node in lab.topology.by_role("master"):
        try:
            script = f"# part {target}\n{CLUSTER_PARTS[target].script}"
            said = lab.machine(node.name).run(script, timeout=_STATUS_SECONDS).stdout.strip()
        except LabError as error:
            said = error.message.splitlines()[-1]
            continue
        if (name := said.partition("_")[0]) in names:
            return name
    raise TargetUnclear(
        f"target {target}: must be one of {', '.join(names)}; got {said or 'nobody'}",
        "`./lab status` shows what is wrong with the lab",
    )


def find_holders(lab: Lab) -> tuple[str, ...]:
    """The balancers that hold the floating IP by their own account; those without power hold nothing."""
    names = [node.name for node in lab.topology.by_role("lb") if lab.machine(node.name).is_running()]
    facts = ask_all(lab, names)
    return tuple(name for name in names if facts[name].get("holds_vip") is True)


def hear_holders(lab: Lab) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """While something is broken: the balancers that say that they hold the floating IP, and those that have power but
    say nothing (frozen, or booting), of which it is not known."""
    nodes = lab.topology.by_role("lb")
    if not nodes:
        return (), ()
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        said = list(pool.map(lambda node: (node.name, _hear(lab, node.name)), nodes))
    holders = tuple(name for name, word in said if word is True)
    return holders, tuple(name for name, word in said if word is None)


def _hear(lab: Lab, name: str) -> bool | None:
    machine = lab.machine(name)
    if not machine.is_running():
        return False
    if machine.is_frozen():
        return None
    try:
        return ask_role(lab, name).get("holds_vip") is True
    except LabError:
        return None


def ask_all(lab: Lab, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Each machine's facts, asked at the same time so that they belong to the same moment.

    Raises ``LabError`` when one does not answer: what it would have said is not known."""
    if not names:
        return {}
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        return dict(zip(names, pool.map(partial(ask_role, lab), names), strict=True))


def ask_role(lab: Lab, name: str) -> Mapping[str, Any]:
    """The facts of one machine. Raises ``MachineError`` when its status is not what the machine promises."""
    balancer = lab.topology.load_balancer
    if balancer is not None and lab.topology.node(name).role == "lb":
        # Not the whole status: it takes a second of a busy computer, and this is asked in the middle of a measurement.
        script = HOLDS.format(address=balancer.floating_ip.address.ip)
        return {"holds_vip": bool(lab.machine(name).run(script, timeout=_STATUS_SECONDS).stdout.strip())}
    output = lab.machine(name).run(STATUS, timeout=_STATUS_SECONDS).stdout
    try:
        role = json.loads(output)["role"]
    except (ValueError, KeyError, TypeError) as error:
        raise MachineError(f"{name}: {STATUS} did not print a status: {output[:200]!r}") from error
    if not isinstance(role, dict):
        raise MachineError(f"{name}: {STATUS}: role must be an object; got {role!r}")
    return role

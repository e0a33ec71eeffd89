"""From status documents to a verdict: a table with every way in which a machine or the whole can be unwell."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from rackbox.errors import WaitTimeout
from rackbox.health import health_json, judge_lab
from rackbox.lab import LiveLab, open_lab
from rackbox.paths import PROJECT
from rackbox.providers.lxc import LxcProvider
from rackbox.topology import Node, Topology
from tests.rendering import shipped

Documents = dict[str, Any]


def healthy(topology: Topology) -> Documents:
    """What each machine says of itself when nothing is wrong: lb1 holds the address, master1 leads."""
    return {node.name: _document(topology, node) for node in topology.nodes}


def _document(topology: Topology, node: Node) -> dict[str, Any]:
    count = len(topology.by_role(node.role))
    backends = {f"{s.name}/{backend.name}": "UP" for s in topology.services for backend in s.backends}
    role: dict[str, dict[str, Any]] = {
        "gateway": {"leases": sum(nic.dhcp for other in topology.nodes for nic in other.nics)},
        "lb": {
            "holds_vip": node.index == 1,
            **_stack(topology, node),
            "haproxy_backends": backends,
        },
        "master": {"etcd_healthy": True, "leader": node.index == 1, "members": count},
        "gluster": {"peers_connected": count - 1, "bricks_online": 1, "heal_pending": 0},
        "worker": {"gluster_mounted": bool(topology.gluster_volume), "containerd": True},
    }
    return {
        "provisioned": True,
        "failed_hook": None,
        "units": {"a.service": "active"},
        "addresses": [str(nic.address) for nic in node.nics],
        "dhcp": {nic.network: str(nic.address) for nic in node.nics if nic.dhcp},
        "role": role[node.role],
    }


def _stack(topology: Topology, node: Node) -> dict[str, Any]:
    """What the floating IP's stack says of itself."""
    balancer = topology.load_balancer
    if balancer is not None and balancer.ha == "keepalived":
        return {"vrrp": "MASTER" if node.index == 1 else "BACKUP"}
    stack: dict[str, Any] = {"quorate": True, "online": [other.name for other in reversed(topology.by_role("lb"))]}
    return stack | ({"third_vote": True} if balancer is not None and balancer.third_vote else {})


@pytest.mark.parametrize("lab", ["default", "small", "keepalived", "reference-keepalived", "reference-pacemaker"])
def test_a_lab_in_which_all_is_well(lab: str) -> None:
    topology = shipped(lab)
    health = judge_lab(topology, healthy(topology))
    assert health.all_problems == []
    assert health.verdict == "healthy"
    assert (health.floating_ip_holder, health.etcd_leader) == ("lb1", "master1")
    assert all(node.healthy for node in health.nodes)
    assert [node.name for node in health.nodes] == [node.name for node in topology.nodes]


def _set(machine: str, *path: str, to: Any) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        place = documents[machine]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


def _drop(machine: str, *path: str) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        place = documents[machine]
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def _gone(machine: str) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        documents[machine] = None

    return change


def _pool(name: str, *, data: float, metadata: float) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        _set(name, "role", "pool_data_percent", to=data)(documents)
        _set(name, "role", "pool_metadata_percent", to=metadata)(documents)

    return change


PROBLEMS: list[tuple[Callable[[Documents], None], list[str]]] = [
    (_gone("worker2"), ["worker2: does not answer"]),
    (_set("worker1", "failed_hook", to="worker/20-x.sh"), ["worker1: hook worker/20-x.sh failed"]),
    (_set("worker1", "provisioned", to=False), ["worker1: is not provisioned yet"]),
    (_set("lb2", "units", to={"a.service": "active", "b.service": "failed"}), ["lb2: b.service is failed"]),
    (
        _set("master1", "dhcp", to={}),
        ["master1: mast: must hold the lease 192.168.1.11/24; has none"],
    ),
    (
        _set("master1", "dhcp", "mast", to="192.168.1.99/24"),
        ["master1: mast: must hold the lease 192.168.1.11/24; has 192.168.1.99/24"],
    ),
    (
        _set("gateway", "addresses", to=[]),
        [f"gateway: {nic.network}: must have the address {nic.address}" for nic in shipped("default").nodes[0].nics],
    ),
    (_set("gateway", "role", "leases", to=3), ["gateway: leases: must be 10; got 3"]),
    (_set("lb1", "role", "quorate", to=False), ["lb1: cluster: no quorum"]),
    (_set("lb1", "role", "online", to=["lb1"]), ["lb1: cluster: lb1, lb2 must be online; online: lb1"]),
    (_set("lb1", "role", "online", to=[]), ["lb1: cluster: lb1, lb2 must be online; online: none"]),
    (
        _set("lb2", "role", "haproxy_backends", "etcd/master3", to="DOWN"),
        ["lb2: backend etcd/master3 is DOWN"],
    ),
    (
        _drop("lb2", "role", "haproxy_backends", "etcd/master3"),
        ["lb2: backends: must be 3; got 2"],
    ),
    (_set("lb1", "role", "holds_vip", to=False), ["floating IP 192.168.4.20: must have one holder; has none"]),
    (_set("lb2", "role", "holds_vip", to=True), ["floating IP 192.168.4.20: must have one holder; has lb1, lb2"]),
    (_set("master1", "role", "leader", to=False), ["etcd: must have one leader; has none"]),
    (_set("master2", "role", "leader", to=True), ["etcd: must have one leader; has master1, master2"]),
    (_set("master2", "role", "etcd_healthy", to=False), ["master2: etcd is not healthy"]),
    (_set("master2", "role", "members", to=2), ["master2: etcd members: must be 3; got 2"]),
    (_set("gluster1", "role", "peers_connected", to=1), ["gluster1: gluster peers connected: must be 2; got 1"]),
    (_set("gluster2", "role", "bricks_online", to=0), ["gluster2: its gluster brick is not online; online here: 0"]),
    (_set("gluster3", "role", "heal_pending", to=4), ["gluster3: gluster: 4 entries to heal"]),
    (_set("worker1", "role", "containerd", to=False), ["worker1: containerd does not answer"]),
    (_set("worker1", "role", "gluster_mounted", to=False), ["worker1: /srv/shared is not mounted"]),
]


@pytest.mark.parametrize(("change", "problems"), PROBLEMS, ids=[problems[0] for _, problems in PROBLEMS])
def test_each_problem_is_told_once(change: Callable[[Documents], None], problems: list[str]) -> None:
    topology = shipped("default")
    documents = copy.deepcopy(healthy(topology))
    change(documents)
    health = judge_lab(topology, documents)
    assert health.all_problems == [text.replace("/srv/shared", topology.gluster_mount) for text in problems]
    assert health.verdict == "degraded"


def test_docker_must_answer_where_it_runs_the_containers() -> None:
    topology = shipped("kubernetes-docker")
    documents: Documents = {node.name: _document(topology, node) for node in topology.nodes}
    for name in ("master1", "worker1", "worker2"):
        document = documents[name]
        assert document is not None
        document["role"] |= {"docker": name != "worker2", "api_ready": True}
    health = judge_lab(topology, documents)
    assert [problem for problem in health.all_problems if "docker" in problem] == ["worker2: docker does not answer"]
    assert next(node.summary for node in health.nodes if node.name == "worker1") == "docker"


def test_a_pool_that_fills_is_a_warning_and_no_reason_to_stop() -> None:
    topology = shipped("default")
    documents = copy.deepcopy(healthy(topology))
    _pool("gluster3", data=91.0, metadata=12.0)(documents)
    health = judge_lab(topology, documents)
    assert health.verdict == "healthy"
    (warned,) = (node for node in health.nodes if node.warnings)
    assert (warned.name, warned.healthy) == ("gluster3", True)
    assert warned.warnings == (
        "the brick's pool: its data are 91 % full, at 100 % writes fail: raise nodes.gluster.volumes.brick.disk",
    )
    assert warned.summary.endswith("pool 91 % full")


def test_a_holder_that_is_not_the_only_one_is_not_the_holder() -> None:
    topology = shipped("default")
    documents = healthy(topology)
    documents["lb2"]["role"]["holds_vip"] = True
    documents["master3"]["role"]["leader"] = True
    health = judge_lab(topology, documents)
    assert (health.floating_ip_holder, health.etcd_leader) == (None, None)


@pytest.mark.parametrize("document", [{"units": {}}, {"provisioned": True, "role": {}}, {"role": None, "dhcp": None}])
def test_a_document_that_lacks_its_parts_is_a_problem_not_a_crash(document: dict[str, Any]) -> None:
    """A machine whose status program is cut off by a full disk, or is of another version."""
    topology = shipped("default")
    for node in topology.nodes:
        health = judge_lab(topology, {**healthy(topology), node.name: document})
        assert health.verdict == "degraded"


def test_nobody_answers() -> None:
    topology = shipped("default")
    health = judge_lab(topology, {})
    assert len(health.all_problems) == len(topology.nodes) + 2
    assert {node.summary for node in health.nodes} == {"does not answer"}


def test_a_lab_without_balancer_masters_and_storage_wants_none() -> None:
    from dataclasses import replace

    topology = shipped("default")
    nodes = tuple(node for node in topology.nodes if node.role in ("gateway", "worker"))
    bare = replace(topology, nodes=nodes, load_balancer=None, services=(), gluster_volume=None)
    health = judge_lab(bare, healthy(bare))
    assert health.all_problems == []
    assert health.floating_ip_holder is None


def test_the_json_document_is_plain_data() -> None:
    topology = shipped("small")
    documents = healthy(topology)
    documents["lb1"]["role"]["quorate"] = False
    found = json.loads(json.dumps(health_json(topology, judge_lab(topology, documents))))
    assert found["schema"] == 1
    assert found["verdict"] == "degraded"
    assert found["problems"] == ["lb1: cluster: no quorum"]
    assert found["machines"][1] == {
        "name": "lb1",
        "role": "lb",
        "address": "192.168.4.21",
        "healthy": False,
        "summary": "holds the floating IP, 1/1 backends up",
        "problems": ["cluster: no quorum"],
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("machine", "state", "problem"),
    [
        ("lb1", "BACKUP", "lb1: VRRP state: must be MASTER; got BACKUP"),
        ("lb2", "FAULT", "lb2: VRRP state: must be BACKUP; got FAULT"),
        ("lb2", "MASTER", "lb2: VRRP state: must be BACKUP; got MASTER"),
        ("lb2", "", "lb2: VRRP state: must be BACKUP; got none"),
    ],
)
def test_keepalived_must_say_what_the_network_card_shows(machine: str, state: str, problem: str) -> None:
    topology = shipped("keepalived")
    documents = healthy(topology)
    documents[machine]["role"]["vrrp"] = state
    assert judge_lab(topology, documents).all_problems == [problem]


def test_a_quorum_device_without_a_vote_is_a_problem() -> None:
    topology = shipped("default")
    documents = healthy(topology)
    documents["lb2"]["role"]["third_vote"] = False
    assert judge_lab(topology, documents).all_problems == ["lb2: cluster: the quorum device has no vote"]


def test_where_haproxy_goes_with_the_floating_ip_only_the_holder_is_asked_for_it() -> None:
    topology = shipped("reference-pacemaker")
    documents = healthy(topology)
    documents["lb2"]["role"]["haproxy_backends"] = {}
    health = judge_lab(topology, documents)
    assert health.all_problems == []
    assert [node.summary for node in health.nodes if node.role == "lb"] == [
        "holds the floating IP, 3/3 backends up",
        "stands by",
    ]
    documents["lb1"]["role"]["haproxy_backends"] = {}
    assert judge_lab(topology, documents).all_problems == ["lb1: backends: must be 3; got 0"]


def test_who_waits_asks_again_only_those_in_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """And all of them once more at the end: a machine may fail while another is waited for."""
    lab = open_lab(PROJECT / "config/default.yaml", provider="lxc")
    well = healthy(lab.topology)
    everybody = {node.name for node in lab.topology.nodes}
    asked: list[set[str] | frozenset[str]] = []
    # round by round, who does not answer then
    silent = [{"worker1", "gluster2"}, {"worker1"}, set(), {"lb1"}, set(), set()]

    def read(_: LiveLab, names: frozenset[str] | None = None) -> Documents:
        wanted = everybody if names is None else names
        away = silent[len(asked)]
        asked.append(wanted)
        return {name: None if name in away else well[name] for name in wanted}

    monkeypatch.setattr(LiveLab, "read_documents", read)
    monkeypatch.setattr("rackbox.wait.time.sleep", lambda _: None)
    alike: list[int] = []  # after how many looks all machines had the same share of the processors again
    monkeypatch.setattr(LxcProvider, "share_alike", lambda *_: alike.append(len(asked)))
    assert lab.wait_healthy(60).verdict == "healthy"
    assert alike == [6]
    # the address is lb1's, so while it is away the other balancer and the masters are in question as well
    whole = {node.name for node in lab.topology.nodes if node.role in ("lb", "master")}
    assert asked == [everybody, {"worker1", "gluster2"}, {"worker1"}, everybody, whole, everybody]


def test_who_waits_in_vain_is_told_what_is_still_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = open_lab(PROJECT / "config/default.yaml", provider="lxc")
    well = healthy(lab.topology)

    def read(_: LiveLab, names: frozenset[str] | None = None) -> Documents:
        return {name: None if name == "worker1" else well[name] for name in names or well}

    monkeypatch.setattr(LiveLab, "read_documents", read)
    monkeypatch.setattr(LxcProvider, "share_alike", lambda *_: pytest.fail("not while one is missing"))
    with pytest.raises(WaitTimeout, match="worker1: does not answer"):
        lab.wait_healthy(0)

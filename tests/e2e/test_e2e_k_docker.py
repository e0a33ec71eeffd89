"""A cluster whose pods Docker Engine runs, spoken to through cri-dockerd: its network, its volumes, logs and exec, and
a worker that loses its power.

Needs a bundle with Docker (`./lab bundle --docker`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from rackbox.bundle import list_bundles, runtimes_of
from rackbox.tools import find_user_home
from tests.e2e.conftest import _take_away
from tests.e2e.host import Traces
from tests.e2e.labs import BUILD_SECONDS, LabUnderTest, derive_lab
from tests.e2e.test_e2e_k_kubernetes import SYSTEM_SECONDS, fetch, is_ready, kubectl, pods_of, read

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1200)]

AGAIN_SECONDS = 180.0
NETWORKS = {
    "dmz": {"cidr": "192.168.4.0/24"},
    "mast": {"cidr": "192.168.1.0/24"},
    "glus": {"cidr": "192.168.3.0/24"},
    "node": {"cidr": "192.168.2.0/24", "reserved": "192.168.2.2-192.168.2.126"},
}


@pytest.fixture(scope="module")
def cluster(lab_name: str, host_before: Traces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """The shipped lab with Docker, and storage beside it: up, and healthy."""
    if not any("docker" in runtimes_of(bundle.components) for bundle in list_bundles(find_user_home())):
        # Who does not ask for it has none: a hundred megabytes that most have no use for.
        pytest.skip("there is no bundle with Docker: make one with `./lab bundle --docker`")
    nodes = {"gateway": None, "lb": None, "master": {"count": 1}, "worker": {"count": 2}, "gluster": {"count": 3}}
    changes = {"networks": NETWORKS, "nodes": nodes}
    file = tmp_path_factory.mktemp("docker") / "lab.yaml"
    lab = derive_lab("kubernetes-docker", f"{lab_name}-d", file, changes)
    try:
        lab.up(timeout=BUILD_SECONDS)
        yield lab
    finally:
        _take_away(lab)


@pytest.fixture(scope="module")
def demo(cluster: LabUnderTest) -> dict[str, str]:
    """Where the demo answers, by place."""
    lines = cluster.cli("demo", timeout=400).stdout.splitlines()
    return {line.rsplit(maxsplit=1)[0]: line.rsplit(maxsplit=1)[1] for line in lines}


def test_every_node_is_ready_and_docker_runs_its_pods(cluster: LabUnderTest) -> None:
    nodes = {node["metadata"]["name"]: node for node in read(cluster, "nodes")["items"]}
    assert sorted(nodes) == cluster.names("master", "worker")
    assert all(is_ready(node) for node in nodes.values())
    runtimes = {node["status"]["nodeInfo"]["containerRuntimeVersion"] for node in nodes.values()}
    assert [runtime.partition("://")[0] for runtime in runtimes] == ["docker"]
    status = cluster.status()
    assert status["verdict"] == "healthy"
    assert "pods by Docker" in status["kubernetes_source"]
    for name in cluster.names("master", "worker"):
        running = cluster.run(name, "docker ps --format '{{.Names}}'").stdout.split()
        assert any(container.startswith("k8s_kube-flannel_") for container in running), name
        others = cluster.run(name, "ctr --namespace k8s.io containers ls --quiet").stdout
        assert others == "", "nothing past Docker"


def test_pods_reach_each_other_services_and_names(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    web = pods_of(cluster, "web")
    assert {pod["spec"]["nodeName"] for pod in web} == set(cluster.names("worker")), "one on each worker"
    for pod, other in (web, web[::-1]):
        name, address = pod["metadata"]["name"], other["status"]["podIP"]
        assert fetch(name, cluster, f"http://{address}:8080/readyz") == "ok", "pod to pod on another worker"
        assert fetch(name, cluster, "http://web.demo.svc.cluster.local/readyz") == "ok", "a service by its name"


def test_the_demo_answers_and_keeps_its_data_on_a_claimed_volume(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    curl = ["curl", "-sS", "--fail", "-m", "10"]
    cluster.client([*curl, "-d", "text=docked", demo["in the lab"]])
    assert "docked" in cluster.client([*curl, demo["in the lab"] + "entries"]).stdout.split()
    claimed = read(cluster, "pvc", "--namespace", "demo")["items"]
    assert claimed
    assert {claim["status"]["phase"] for claim in claimed} == {"Bound"}
    mounts = kubectl(cluster, "--namespace", "demo", "exec", "database-0", "--", "cat", "/proc/mounts").stdout
    assert [line.split()[2] for line in mounts.splitlines() if line.split()[1] == "/data"] == ["fuse.glusterfs"]


def test_logs_and_exec_go_through_cri_dockerd(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    assert "ready for connections" in kubectl(cluster, "--namespace", "demo", "logs", "database-0").stdout
    said = kubectl(cluster, "--namespace", "demo", "exec", "database-0", "--", "sh", "-c", "echo in; exit 7", code=7)
    assert said.stdout.strip() == "in"


def test_an_engine_that_is_started_anew_leaves_pods_alone(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    """The engine of a worker and cri-dockerd with it: no container ends, and they are reached as before."""
    serving = "systemctl show --property=MainPID --value docker.service cri-docker.service"
    engine = cluster.run("worker1", serving).stdout.split()
    asked = "docker ps --no-trunc --quiet --filter name=k8s_web_"
    before = cluster.run("worker1", asked).stdout.split()
    assert before
    cluster.run("worker1", "systemctl kill --signal=KILL docker.service cri-docker.service", timeout=30)
    end = time.monotonic() + 60
    while cluster.run("worker1", asked, check=False).stdout.split() != before:
        assert time.monotonic() < end, "the engine does not know its containers any more"
        time.sleep(0.5)
    cluster.live.wait_healthy(SYSTEM_SECONDS)
    assert not {*engine} & {*cluster.run("worker1", serving).stdout.split()}, "both are others now"
    for pod in pods_of(cluster, "web"):
        assert fetch(pod["metadata"]["name"], cluster, "http://web.demo.svc.cluster.local/readyz") == "ok"


def test_a_worker_that_lost_its_power_runs_its_pods_again(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    def on(name: str) -> dict[str, set[str]]:
        """The ready pods there by name, and the containers of each, of which a start makes new ones."""
        items = read(cluster, "pods", "--all-namespaces", "--field-selector", f"spec.nodeName={name}")["items"]
        return {
            item["metadata"]["name"]: {one["containerID"] for one in item["status"]["containerStatuses"]}
            for item in items
            if is_ready(item)
        }

    def waiting() -> list[str]:
        now = on("worker2")
        return sorted(pod for pod, containers in before.items() if now.get(pod, containers) & containers)

    before = on("worker2")
    assert any(name.startswith("web-") for name in before)
    cluster.power_off(["worker2"])
    cluster.live.machine("worker2").power_on()
    began = time.monotonic()
    cluster.live.wait_healthy(SYSTEM_SECONDS)
    end = time.monotonic() + AGAIN_SECONDS
    while waiting():
        assert time.monotonic() < end, f"not ready again: {waiting()}"
        time.sleep(1)
    print(f"worker2's {len(before)} pods ready again after {time.monotonic() - began:.0f} s")
    for pod in pods_of(cluster, "web"):
        assert fetch(pod["metadata"]["name"], cluster, "http://web.demo.svc.cluster.local/readyz") == "ok"


def test_another_runtime_is_refused_while_the_lab_has_its_machines(cluster: LabUnderTest) -> None:
    cluster.edit(lambda config: config["kubernetes"].update(runtime="containerd"))
    refused = cluster.up(code=3)
    assert "kubernetes.runtime: must stay docker" in refused.stderr
    cluster.edit(lambda config: config["kubernetes"].update(runtime="docker"))
    cluster.up()

"""A real cluster: three masters behind the floating IP, its pods, its network, and what it survives.

Needs a bundle (`./lab bundle`); `./lab test --kubernetes` runs this file and nothing else.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rackbox.kubeconfig import kubeconfig_path
from rackbox.run import Result, run
from rackbox.shares import BOOT_NICE
from rackbox.tools import find_user_home
from tests.e2e.claims import MIB, NAMESPACE, Claims, claim, pod
from tests.e2e.conftest import _take_away
from tests.e2e.host import Traces, niceness, weights
from tests.e2e.labs import BUILD_SECONDS, LabUnderTest, derive_lab, environment
from tests.e2e.outside import outside_of
from tests.e2e.scenario_runs import the_run_that_held, wait_for_calm

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1200)]

SYSTEM_SECONDS = 240.0


@pytest.fixture(scope="module")
def cluster(lab_name: str, host_before: Traces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """The cluster of the shipped lab, less one worker: up, and healthy."""
    if not any(find_user_home().bundles.glob("*/manifest.json")):
        pytest.skip("there is no bundle: make one with `./lab bundle`")
    nodes = {"gateway": None, "lb": None, "master": {"count": 3}, "worker": {"count": 2}, "gluster": {"count": 3}}
    changes = {"nodes": nodes, "kubernetes": {"source": "bundle"}}
    lab = derive_lab("kubernetes", f"{lab_name}-k", tmp_path_factory.mktemp("kubernetes") / "lab.yaml", changes)
    try:
        lab.up(timeout=BUILD_SECONDS)
        yield lab
    finally:
        _take_away(lab)


def kubectl(lab: LabUnderTest, *words: str, timeout: float = 60.0, code: int | None = 0) -> Result:
    return lab.cli("kubectl", "--", *words, timeout=timeout, code=code)


def read(lab: LabUnderTest, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(kubectl(lab, "get", *words, "--output", "json").stdout)
    return document


def is_ready(thing: dict[str, Any]) -> bool:
    return any(item["type"] == "Ready" and item["status"] == "True" for item in thing["status"].get("conditions", []))


def pods_of(lab: LabUnderTest, app: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = read(lab, "pods", "--namespace", "demo", "--selector", f"app={app}")["items"]
    return items


def fetch(pod: str, lab: LabUnderTest, url: str) -> str:
    """What a web pod gets from ``url``, with nothing but Python in it."""
    script = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).read().decode())"
    result = kubectl(lab, "--namespace", "demo", "exec", pod, "--", "python3", "-c", script)
    return result.stdout.strip()


@pytest.fixture(scope="module")
def demo(cluster: LabUnderTest) -> dict[str, str]:
    """Where the demo answers, by place."""
    lines = cluster.cli("demo", timeout=400).stdout.splitlines()
    return {line.rsplit(maxsplit=1)[0]: line.rsplit(maxsplit=1)[1] for line in lines}


def test_every_node_is_ready_and_status_says_so(cluster: LabUnderTest) -> None:
    nodes = {node["metadata"]["name"]: node for node in read(cluster, "nodes")["items"]}
    assert sorted(nodes) == cluster.names("master", "worker")
    assert all(is_ready(node) for node in nodes.values())
    status = cluster.status()
    assert status["verdict"] == "healthy"
    assert status["kubernetes"]["nodes"] == dict.fromkeys(nodes, True)
    assert "from bundle" in status["kubernetes_source"]
    addresses = {name: node["status"]["addresses"][0]["address"] for name, node in nodes.items()}
    assert addresses == {name: str(cluster.live.topology.node(name).address) for name in nodes}


def test_the_kubeconfig_is_private(cluster: LabUnderTest) -> None:
    path = kubeconfig_path(cluster.live)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kubectl(cluster, "config", "current-context").stdout.strip() == f"rackbox-{cluster.live.topology.lab}"


def test_kubectl_passes_its_exit_code_and_quoting_on(cluster: LabUnderTest) -> None:
    assert kubectl(cluster, "get", "pod", "no such pod", code=1).returncode == 1
    shown = kubectl(cluster, "get", "nodes", "--output", "jsonpath={.items[*].metadata.name}").stdout
    assert shown.split() == cluster.names("master", "worker")


def test_pods_reach_pods_services_names_and_the_lab(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    web = pods_of(cluster, "web")
    assert {pod["spec"]["nodeName"] for pod in web} == set(cluster.names("worker")), "one on each worker"
    first, second = (pod["metadata"]["name"] for pod in web)
    other = web[1]["status"]["podIP"]
    assert fetch(first, cluster, f"http://{other}:8080/readyz") == "ok", "pod to pod on another worker"
    address = read(cluster, "service", "web", "--namespace", "demo")["spec"]["clusterIP"]
    assert fetch(second, cluster, f"http://{address}/readyz") == "ok", "pod to service"
    assert fetch(second, cluster, "http://web.demo.svc.cluster.local/readyz") == "ok", "by name"
    script = "import socket; print(socket.gethostbyname('master1.kube.demo'))"
    named = kubectl(cluster, "--namespace", "demo", "exec", first, "--", "python3", "-c", script).stdout.strip()
    assert named == str(cluster.live.topology.node("master1").address), "the lab's names, through the gateway"


def test_pods_reach_the_outside_by_the_gateway_alone(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    with outside_of(cluster) as outside:
        seen = {fetch(pod["metadata"]["name"], cluster, outside.url) for pod in pods_of(cluster, "web")}
        assert seen == {outside.gateway}, "under the gateway's address, from every worker"


def test_the_demo_answers_everywhere(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    for url in (demo["in the lab"], demo["by NodePort"]):
        page = cluster.client(["curl", "-sS", "--fail", "-m", "10", url]).stdout
        assert "Guest book" in page, url
    address = demo["in the lab"].split("/")[2]
    assert address.startswith("192.168.2.")
    run(["curl", "-sS", "--fail", "-m", "10", "-d", "text=hello", demo["on this host"]], timeout=15, env=environment())
    entries = cluster.client(["curl", "-sS", "--fail", "-m", "10", demo["in the lab"] + "entries"]).stdout
    assert entries.split() == ["hello"]


def test_ingresses_are_served_at_the_floating_ip(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    """By name through the gateway's DNS, a balancer and a worker's Traefik, by HTTP and HTTPS; the client is known."""
    url = demo["by Ingress"]
    host = url.split("/")[2]
    balancer = cluster.live.topology.load_balancer
    assert balancer is not None
    vip = str(balancer.floating_ip.address.ip)
    shown = cluster.client(["curl", "-sS", "--fail", "-m", "10", "-w", "%{remote_ip}", url]).stdout
    assert "Guest book" in shown
    assert shown.endswith(vip)
    secure = cluster.client(["curl", "-sS", "--fail", "-m", "10", "--insecure", f"https://{host}/readyz"]).stdout
    assert secure.strip() == "ok"
    client = str(cluster.live.topology.client_network.client)
    for scheme in ("http", "https"):
        line = ["curl", "-sS", "--fail", "-m", "10", "--insecure", f"{scheme}://{host}/client"]
        assert cluster.client(line).stdout.strip() == client, scheme
    unknown = cluster.client(["curl", "-sS", "-m", "10", f"http://nobody.{host.partition('.')[2]}/"]).stdout
    assert "404" in unknown
    status = read(cluster, "ingress", "web", "--namespace", "demo")["status"]
    assert status["loadBalancer"]["ingress"] == [{"ip": vip}]
    here = demo["Ingress here"]
    name, port = here.split("/")[2].split(":")
    resolve = f"{name}:{port}:127.0.0.1"
    page = run(["curl", "-sS", "--fail", "-m", "10", "--resolve", resolve, here], timeout=15, env=environment()).stdout
    assert "Guest book" in page


def test_only_the_balancers_may_say_who_a_client_is(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    """Past the balancers, at a worker's own port: what a PROXY header says is not believed."""
    host = demo["by Ingress"].split("/")[2]
    worker = cluster.live.topology.node(cluster.names("worker")[0])
    service = next(service for service in cluster.live.topology.services if service.name == "ingress-http")
    port = service.backends[0].port
    line = f"PROXY TCP4 192.0.2.9 {worker.address} 50000 80\\r\\n"
    request = f"GET /client HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n"
    script = (
        f"import socket; s = socket.create_connection(('{worker.address}', {port}), 10); "
        f"s.sendall(b'{line}{request}'); print(b''.join(iter(lambda: s.recv(4096), b'')).decode())"
    )
    head, _, body = cluster.client(["python3", "-c", script]).stdout.partition("\n")
    assert "200 OK" in head
    assert body.split()[-1] == str(cluster.live.topology.client_network.client)


def test_an_ingress_without_a_class_is_served_while_traefik_is_rolled(
    cluster: LabUnderTest, demo: dict[str, str]
) -> None:
    """The class is the default. A Traefik that ends says so to the balancers first: no request fails."""
    host = f"plain.{demo['by Ingress'].split('/')[2].partition('.')[2]}"
    kubectl(cluster, "--namespace", "demo", "create", "ingress", "plain", f"--rule={host}/*=web:80")
    ask = ["curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", f"http://{host}/healthz"]
    end = time.monotonic() + 15
    while cluster.client(ask, check=False).stdout != "200":
        assert time.monotonic() < end, "Traefik has not taken it up"
        time.sleep(0.3)
    traefik = ("--namespace", "ingress", "rollout")
    kubectl(cluster, *traefik, "restart", "daemonset/traefik")
    rolling = threading.Thread(
        target=kubectl, args=(cluster, *traefik, "status", "daemonset/traefik"), kwargs={"timeout": 120}
    )
    rolling.start()
    count, bad = 0, []
    while rolling.is_alive():
        answer = cluster.client(ask, check=False)
        if answer.stdout != "200":
            bad.append(f"{answer.stdout} {answer.stderr.strip()}, as number {count}")
        count += 1
        time.sleep(0.05)
    assert count > 20
    assert bad == []
    kubectl(cluster, "--namespace", "demo", "delete", "ingress", "plain")


def test_logs_and_exec_go_through_the_api(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    """The API server trusts a kubelet by the cluster's own CA alone."""
    assert "ready for connections" in kubectl(cluster, "--namespace", "demo", "logs", "database-0").stdout


@pytest.fixture(scope="module")
def claims(cluster: LabUnderTest, demo: dict[str, str]) -> Claims:
    """A claim of 16 MiB, bound, with a pod on each of two workers. The demo has brought the image."""
    kubectl(cluster, "create", "namespace", NAMESPACE)
    made = Claims(cluster)
    first, second = cluster.names("worker")
    ready = ("--for=condition=Ready", "pod/first", "pod/second")
    made.make(claim("data", "16Mi"), pod("first", first, "data"), pod("second", second, "data"), wait=ready)
    return made


def test_a_volume_is_written_from_two_workers(claims: Claims) -> None:
    for name, other in (("first", "second"), ("second", "first")):
        claims.inside(name, "sh", "-c", f"echo {name} > /data/of-{name}")
        assert claims.inside(other, "cat", f"/data/of-{name}").stdout.strip() == name


def test_a_volume_holds_no_more_than_was_asked_for_and_grows(claims: Claims) -> None:
    size = claims.inside("first", "df", "--block-size=1M", "--output=size", "/data").stdout.split()[-1]
    assert int(size) == 16
    claims.write("first", "half", 8 * MIB)
    refused = claims.write("second", "more", 40 * MIB, code=None)
    assert refused.returncode != 0
    assert "Disk quota exceeded" in refused.stdout + refused.stderr
    held = claims.held("first")
    assert held <= 18 * MIB, "16 and what was under way"
    patch = json.dumps({"spec": {"resources": {"requests": {"storage": "64Mi"}}}})
    claims.kubectl("patch", "pvc", "data", "--patch", patch)
    claims.kubectl("wait", "--timeout=60s", "pvc/data", "--for=jsonpath={.status.capacity.storage}=64Mi")
    claims.write("second", "more", 40 * MIB)
    assert claims.held("first") >= 48 * MIB
    claims.inside("first", "rm", "/data/more")


def test_data_moves_with_its_pod(claims: Claims) -> None:
    first, second = claims.lab.names("worker")
    before = claims.inside("first", "sha256sum", "/data/half").stdout.split()[0]
    claims.kubectl("delete", "pod", "first")
    claims.make(pod("first", second, "data"), wait=("--for=condition=Ready", "pod/first"))
    assert claims.inside("first", "sha256sum", "/data/half").stdout.split()[0] == before
    claims.kubectl("delete", "pod", "first")
    claims.make(pod("first", first, "data"), wait=("--for=condition=Ready", "pod/first"))


def test_a_volume_outlives_the_driver_and_a_gluster_server(claims: Claims) -> None:
    claims.kubectl("--namespace", "gluster-csi", "delete", "pod", "--selector", "app=node")
    claims.write("first", "without-driver", MIB)
    claims.lab.power_off(["gluster2"])
    try:
        claims.write("first", "without-server", MIB)
        assert claims.inside("second", "stat", "--format=%s", "/data/without-server").stdout.strip() == str(MIB)
        claims.make(claim("meanwhile", "8Mi"), wait=("--for=jsonpath={.status.phase}=Bound", "pvc/meanwhile"))
        refused = claims.write("first", "too-much", 80 * MIB, code=None)
        assert "Disk quota exceeded" in refused.stdout + refused.stderr
    finally:
        claims.lab.live.machine("gluster2").power_on()
    claims.inside("first", "rm", "/data/too-much")
    claims.lab.live.wait_healthy(SYSTEM_SECONDS)
    claims.kubectl("delete", "pvc", "meanwhile")


def test_what_is_not_offered_is_refused_in_words(claims: Claims) -> None:
    """A clone, a block device, and more than there is; for snapshots there is not even a kind of object."""
    source = {"dataSource": {"kind": "PersistentVolumeClaim", "name": "data"}}
    claims.make(claim("clone", "64Mi", **source), claim("block", "8Mi", volumeMode="Block"), claim("endless", "900Ti"))
    claims.wait_event("clone", "does not support clone")
    claims.wait_event("block", "volumeMode: must be Filesystem; got Block")
    claims.wait_event("endless", "has left to promise")
    unknown = claims.kubectl("get", "volumesnapshots", code=None)
    assert unknown.returncode != 0
    assert "doesn't have a resource type" in unknown.stdout + unknown.stderr
    claims.kubectl("delete", "pvc", "clone", "block", "endless")


def test_a_claim_that_is_deleted_frees_its_space(claims: Claims) -> None:
    volume = claims.volume_of("data")
    worker = claims.lab.names("worker")[0]
    assert volume in claims.lab.run(worker, "ls /mnt/shared/kubernetes").stdout.split()
    claims.kubectl("delete", "pod", "first", "second")
    claims.kubectl("delete", "pvc", "data")
    claims.kubectl("wait", "--for=delete", f"pv/{volume}", "--timeout=90s")
    assert volume not in claims.lab.run(worker, "ls /mnt/shared/kubernetes").stdout.split()


def test_the_api_answers_while_a_master_is_powered_off(cluster: LabUnderTest) -> None:
    """Through the floating IP, one retry allowed, as any client would; writes are all there afterwards."""
    stop = threading.Event()
    failed: list[str] = []
    slowest, count = 0.0, 0
    config = kubeconfig_path(cluster.live).with_name("kubeconfig-inside")
    choice = cluster.live.choice
    assert choice is not None
    assert choice.release is not None
    program = str(choice.release.directory / "bin/kubectl")

    def write() -> None:
        nonlocal slowest, count
        while not stop.is_set():
            name = f"probe-{count}"
            for attempt in range(2):
                began = time.monotonic()
                words = ["create", "configmap", name, "--namespace", "default", "--request-timeout=10s"]
                argv = cluster.live.client_argv([program, "--kubeconfig", str(config), *words])
                done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
                slowest = max(slowest, time.monotonic() - began)
                if done.returncode == 0 or (attempt and "AlreadyExists" in done.stderr):
                    break
            else:
                failed.append(f"{name}: {done.stderr.strip()}")
            count += 1
            time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(3)
        cluster.power_off(["master2"])
        time.sleep(20)
        cluster.live.machine("master2").power_on()
        time.sleep(10)
    finally:
        stop.set()
        writer.join()
    topology = cluster.live.topology
    weighed, shares = weights(topology), niceness(topology)
    cluster.live.wait_healthy(SYSTEM_SECONDS)
    assert set(weights(topology).values()) <= {1024}
    assert [name for name, values in shares.items() if BOOT_NICE in values] == ["master2"]
    assert not any(BOOT_NICE in values for values in niceness(topology).values())
    assert {name for name, weight in weighed.items() if weight < 1024} == {"master2"} & weighed.keys()
    print(f"{count} writes, slowest {slowest:.1f} s, failed after one retry: {len(failed)}")
    assert not failed
    kept = {item["metadata"]["name"] for item in read(cluster, "configmaps", "--namespace", "default")["items"]}
    assert {f"probe-{number}" for number in range(count)} <= kept


@pytest.mark.parametrize("scenario", ["api-master-powered-off", "api-server-hung", "controller-manager-killed"])
def test_a_scenario_of_the_cluster_holds(cluster: LabUnderTest, scenario: str) -> None:
    """Judged as any other: writes through the floating IP read back, a watch and a log that miss nothing, within
    budget. While a master comes back, two cores start an API server beside two that serve: answers may take longer then
    than the budget has it, and whoever tries once more is served."""
    cluster.live.wait_healthy(SYSTEM_SECONDS)
    wait_for_calm()
    report = json.loads(cluster.cli("failover-test", "--scenario", scenario, "--json", code=None, timeout=400).stdout)
    run = the_run_that_held(report, but_for_healing=scenario == "api-master-powered-off")
    assert (run["writes"]["lost"], run["writes"]["twice"]) == ([], [])


def test_a_worker_comes_and_goes(cluster: LabUnderTest) -> None:
    """A new one joins by itself; one that is taken out is drained, and the cluster forgets it."""

    def count(number: int) -> None:
        cluster.edit(lambda config: config["nodes"].update(worker={"count": number}))
        cluster.up(timeout=BUILD_SECONDS)

    count(3)
    nodes = {node["metadata"]["name"]: node for node in read(cluster, "nodes")["items"]}
    assert is_ready(nodes["worker3"])
    count(2)
    assert sorted(node["metadata"]["name"] for node in read(cluster, "nodes")["items"]) == cluster.names(
        "master", "worker"
    )
    cluster.live.wait_healthy(SYSTEM_SECONDS)


def test_a_power_cut_of_everything(cluster: LabUnderTest, demo: dict[str, str]) -> None:
    """What the demo's database had acknowledged a moment before is on the Gluster volume that its pod claimed."""
    curl = ["curl", "-sS", "--fail", "-m", "10"]
    cluster.client([*curl, "-d", "text=cut", demo["in the lab"]])
    before = cluster.client([*curl, demo["in the lab"] + "entries"]).stdout.split()
    assert "cut" in before
    cluster.power_off(cluster.names())
    cluster.up(timeout=600)
    status = cluster.status()
    assert status["verdict"] == "healthy"
    cluster.cli("demo", timeout=400)
    assert cluster.client([*curl, demo["in the lab"] + "entries"]).stdout.split() == before, "the demo's data"


def test_nothing_of_the_host_s_kernel_was_changed(cluster: LabUnderTest, host_before: Traces) -> None:
    """A kubelet sets these where it may."""
    for name, value in {"kernel/panic": "10", "kernel/panic_on_oops": "1", "vm/overcommit_memory": "1"}.items():
        inside = cluster.run("worker1", f"cat /proc/sys/{name}").stdout.strip()
        assert inside == value
    assert os.path.exists("/proc/sys/kernel/panic")

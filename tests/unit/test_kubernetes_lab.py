"""What a cluster makes of a lab: services, names, files, containers, health; and that others are left as they were."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rackbox.config import parse_config
from rackbox.errors import LabError
from rackbox.forwarding import plan_forwards
from rackbox.health import health_json, judge_lab
from rackbox.hooks import load_sources
from rackbox.paths import LabPaths
from rackbox.planner import plan_topology
from rackbox.providers import lxc
from rackbox.release import STORAGE_IMAGES, Release, check_release
from rackbox.render import render_env, render_lab
from rackbox.topology import Node, Topology
from rackbox.yamlfile import YamlFile
from tests.bundles import make_release
from tests.rendering import RELEASE, TARGET, fake_credentials, rendered, shipped, text
from tests.unit.test_health import healthy

LAB = "kubernetes"
PATHS = LabPaths(Path("/srv/labs/one"), Path("/run/rackbox/one"), Path("/srv/runs/one"))


def settings(node: Node, view: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setattr(lxc, "node_view", lambda: view)
    made = lxc.LxcProvider().vagrant_settings(shipped(LAB), node, PATHS, RELEASE.directory)
    return [(str(setting.args[0]), str(setting.args[1])) for setting in made if setting.method == "customize"]


def test_the_api_is_balanced_and_has_a_name() -> None:
    topology = shipped(LAB)
    api = next(service for service in topology.services if service.name == "api")
    assert (api.port, api.host_port, api.check.path) == (6443, 16443, "/readyz")
    assert api.check.authority == "kubernetes"
    assert api.stream_timeout_ms == 24 * 3600 * 1000
    assert [b.name for b in api.backends] == ["master1", "master2", "master3"]
    assert ("api.kube.demo", "192.168.4.20") in {(record.name, str(record.address)) for record in topology.dns}
    config = text(LAB, "nodes/lb1/files/etc/haproxy/haproxy.cfg")
    line = next(line for line in config.splitlines() if "server master1 192.168.1.11:6443" in line)
    assert "ca-file /etc/haproxy/pki/kubernetes-ca.pem verifyhost master1.kube.demo" in line
    assert "crt " not in line


def test_the_cluster_s_own_volume_may_have_another_size() -> None:
    nodes = {"gateway": None, "master": {"count": 1, "volumes": {"containerd": "4G"}}, "worker": None}
    config = parse_config(YamlFile("lab.yaml", {"name": "lab", "nodes": nodes, "kubernetes": None}, {}))
    volumes = {volume.name: volume for volume in plan_topology(config).node("master1").volumes}
    assert (volumes["containerd"].mount, volumes["containerd"].size_mib) == ("/var/lib/containerd", 4096)


def test_only_nodes_may_do_more_than_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = shipped(LAB)
    for node in topology.nodes:
        given = {key: value for key, value in settings(node, "v1", monkeypatch) if key != "mount.entry"}
        mounts = [str(args[1]) for args in settings(node, "v1", monkeypatch) if args[0] == "mount.entry"]
        is_node = node.role in ("master", "worker")
        assert ("cap.drop" in given) is is_node, node.name
        assert ("init.cmd" in given) is is_node, node.name
        assert any("/dev/kmsg" in mount for mount in mounts) is is_node, node.name
        bundle = f"{RELEASE.directory} opt/rackbox/kubernetes none bind,ro,create=dir 0 0"
        assert (bundle in mounts) is is_node, node.name


def test_on_a_v2_host_systemd_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict(settings(shipped(LAB).node("worker1"), "v2", monkeypatch))
    assert "init.cmd" not in given
    assert given["mount.auto"] == "proc:rw sys:rw cgroup:rw"


def test_our_programs_come_first_only_where_there_is_a_cluster() -> None:
    provider = lxc.LxcProvider()
    assert f"PATH={lxc.PROGRAMS}:" in " ".join(provider.host_argv(shipped(LAB), ["vagrant"]))
    assert "PATH=" not in " ".join(provider.host_argv(shipped("default"), ["vagrant"]))
    for name in ("bin/lxc-start", "show-v1"):
        assert (lxc.PROGRAMS.parent / name).stat().st_mode & stat.S_IXUSR


def test_nodes_forward_and_others_do_not() -> None:
    path = "files/etc/sysctl.d/60-rackbox.conf"
    for name in ("master1", "worker1"):
        assert "net.ipv4.ip_forward = 1" in text(LAB, f"nodes/{name}/{path}")
    assert "net.ipv4.ip_forward = 0" in text("default", f"nodes/worker1/{path}")
    full = rendered(LAB)["nodes/lb1/user-data"].data.decode()
    assert "net.ipv4.ip_forward = 0" in full


def test_the_environment_of_a_node() -> None:
    topology = shipped(LAB)
    env = render_env(topology, topology.node("worker1"))
    assert env["RACKBOX_API"] == "api.kube.demo:6443"
    assert env["RACKBOX_WAIT_SECONDS"] == "280"
    assert "RACKBOX_API" not in render_env(topology, topology.node("lb1"))
    assert "RACKBOX_API" not in render_env(shipped("default"), shipped("default").node("worker1"))


def test_masters_agree_on_all_but_themselves() -> None:
    """What kubeadm keeps in the cluster must not depend on which master wrote it last."""
    user_data = {
        name: {
            entry["path"]: entry["content"]
            for entry in yaml.safe_load(rendered(LAB)[f"nodes/{name}/user-data"].data)["write_files"]
        }
        for name in ("master1", "master2", "master3")
    }
    path = "/etc/rackbox/kubernetes/kubeadm.yaml"
    parts = {files[path].split("\n---\n", 1)[1] for files in user_data.values()}
    assert len(parts) == 1
    documents = list(yaml.safe_load_all(user_data["master1"][path]))
    assert [document["kind"] for document in documents] == [
        "InitConfiguration",
        "ClusterConfiguration",
        "KubeletConfiguration",
        "KubeProxyConfiguration",
    ]
    assert documents[0]["apiVersion"] == "kubeadm.k8s.io/v1beta4"
    assert documents[1]["controlPlaneEndpoint"] == "api.kube.demo:6443"
    assert documents[1]["etcd"]["external"]["endpoints"] == ["https://127.0.0.1:2379"]


@pytest.mark.parametrize(
    ("runtime", "release", "gates"),
    [
        ("docker", "1.35.4", None),  # which knows no such gate, and would not start
        ("docker", "1.36.3", {"ExtendWebSocketsToKubelet": False}),
        ("docker", "1.37.0", {"ExtendWebSocketsToKubelet": False}),
        ("containerd", "1.36.3", None),
    ],
)
def test_kubelets_find_what_runs_their_containers(runtime: str, release: str, gates: dict[str, bool] | None) -> None:
    topology = shipped("kubernetes-docker" if runtime == "docker" else "kubernetes-small")
    made = replace(RELEASE, kubernetes=release)
    files = render_lab(topology, fake_credentials(topology), {}, load_sources(), TARGET, made)
    kubelet = yaml.safe_load(files["nodes/worker1/files/var/lib/kubelet/config.yaml"].data)
    kubeadm = yaml.safe_load_all(files["nodes/master1/files/etc/rackbox/kubernetes/kubeadm.yaml"].data)
    init, _, shared, _ = kubeadm
    endpoint = "unix:///run/cri-dockerd.sock" if runtime == "docker" else "unix:///run/containerd/containerd.sock"
    assert {kubelet["containerRuntimeEndpoint"], shared["containerRuntimeEndpoint"]} == {endpoint}
    assert init["nodeRegistration"]["criSocket"] == endpoint
    assert kubelet.get("featureGates") == shared.get("featureGates") == gates
    assert ("RACKBOX_RUNTIME" in render_env(topology, topology.node("worker1"))) is (runtime == "docker")


def test_masters_agree_on_a_stacked_etcd_too() -> None:
    """Also on one that came later: whom etcd was founded with is not said there."""
    files = [text("kubernetes-stacked", f"nodes/master{n}/files/etc/rackbox/kubernetes/kubeadm.yaml") for n in (1, 2)]
    assert len({file.split("\n---\n", 1)[1] for file in files}) == 1
    etcd = list(yaml.safe_load_all(files[0]))[1]["etcd"]["local"]
    assert (etcd["dataDir"], etcd["imageTag"]) == ("/var/lib/etcd/data", "v1.36.3")
    assert "initial-cluster" not in {argument["name"] for argument in etcd["extraArgs"]}


def test_a_bundle_without_etcd_s_image_is_refused_where_etcd_is_a_pod(tmp_path: Path) -> None:
    release = make_release(tmp_path / "1.36.3-x")
    bare = replace(release, images=tuple(image for image in release.images if image.name != "etcd"))
    cluster = shipped("kubernetes-stacked").kubernetes
    assert cluster is not None
    assert check_release(release, cluster) is release
    assert check_release(bare, replace(cluster, etcd="external")) is bare
    with pytest.raises(LabError, match="lacks the image etcd"):
        check_release(bare, cluster)


def test_images_come_in_the_order_of_their_use() -> None:
    topology = shipped(LAB)
    first = [image.name for image in RELEASE.images_of(topology.node("master1"), topology)][:2]
    assert first == ["pause", "kube-apiserver"]
    assert [i.name for i in RELEASE.images_of(topology.node("worker1"), topology)] == [
        "pause",
        "flannel",
        "kube-proxy",
        "coredns",
        "csi-provisioner",
        "csi-resizer",
        "gluster-csi",
        "traefik",
    ]
    stacked = shipped("kubernetes-stacked")
    assert [i.name for i in RELEASE.images_of(stacked.node("master1"), stacked)][:2] == ["pause", "etcd"]
    bare = cluster_lab(ingress="none")
    without = [image.name for image in RELEASE.images_of(bare.node("worker1"), bare)]
    assert without == ["pause", "flannel", "kube-proxy", "coredns"]


ADDONS = "/etc/rackbox/kubernetes/addons"


def addons(topology: Topology, release: Release) -> dict[str, str]:
    """What the first master applies, by the files' names."""
    files = render_lab(topology, fake_credentials(topology), {}, load_sources(), TARGET, release)
    written = yaml.safe_load(files["nodes/master1/user-data"].data)["write_files"]
    return {entry["path"].rpartition("/")[2]: entry["content"] for entry in written if entry["path"].startswith(ADDONS)}


def test_claims_get_volumes_where_there_is_gluster_and_a_driver() -> None:
    topology = shipped(LAB)
    written = addons(topology, RELEASE)
    assert "- storage.yaml" in written["kustomization.yaml"]
    objects = {item["kind"]: item for item in yaml.safe_load_all(written["storage.yaml"])}
    assert objects["StorageClass"]["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert objects["StorageClass"]["provisioner"] == objects["CSIDriver"]["metadata"]["name"]
    known = {image.reference for image in RELEASE.images}
    for kind in ("Deployment", "DaemonSet"):
        for container in objects[kind]["spec"]["template"]["spec"]["containers"]:
            assert container["image"] in known
    arguments = objects["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--servers=gluster1.kube.demo,gluster2.kube.demo,gluster3.kube.demo" in arguments
    assert "--volume=shared" in arguments


def test_without_gluster_or_a_driver_there_is_no_storage_class() -> None:
    old = replace(RELEASE, images=tuple(image for image in RELEASE.images if image.name not in STORAGE_IMAGES))
    without_gluster = shipped("kubernetes-small")
    assert without_gluster.gluster_volume is None
    for topology, release in ((shipped(LAB), old), (without_gluster, RELEASE)):
        written = addons(topology, release)
        assert "storage.yaml" not in written
        assert "storage" not in written["kustomization.yaml"]


# --- Ingresses


def cluster_lab(services: list[dict[str, Any]] | None = None, stats: int = 8404, **kubernetes: object) -> Topology:
    """A small cluster with balancers, and keys of its own."""
    nodes = {"gateway": None, "lb": None, "master": {"count": 1}, "worker": None}
    balancer = {"stats_port": stats, **({"services": services} if services else {})}
    data = {"name": "one", "nodes": nodes, "load_balancer": balancer, "kubernetes": kubernetes}
    return plan_topology(parse_config(YamlFile("lab.yaml", data, {})))


def names_of(topology: Topology) -> list[str]:
    return [service.name for service in topology.services]


def test_ingresses_have_the_ports_of_the_web_and_a_domain() -> None:
    topology = shipped(LAB)
    assert names_of(topology) == ["etcd", "api", "ingress-http", "ingress-https"]
    assert topology.has_ingress
    web = topology.services[2]
    ports = [(s.port, s.host_port, s.backends[0].port) for s in topology.services[2:]]
    assert ports == [(80, 10080, 30010), (443, 10443, 30011)]
    assert {b.name for b in web.backends} == {"worker1", "worker2", "worker3"}
    assert ("*.apps.kube.demo", "192.168.4.20") in {(record.name, str(record.address)) for record in topology.dns}
    dnsmasq = text(LAB, "nodes/gateway/files/etc/dnsmasq.d/rackbox.conf").splitlines()
    assert "address=/apps.kube.demo/192.168.4.20" in dnsmasq
    assert not [line for line in dnsmasq if line.startswith("host-record=*")]
    config = text(LAB, "nodes/lb1/files/etc/haproxy/haproxy.cfg")
    part = config.split("listen ingress-http\n")[1].split("listen ")[0]
    assert "bind *:80" in part
    assert "http-check send meth GET uri /ping" in part
    assert "server worker1 192.168.2.131:30010 check port 30012 send-proxy-v2\n" in part
    assert "check-ssl" not in part


def test_traefik_believes_the_balancers_alone() -> None:
    topology = shipped(LAB)
    written = addons(topology, RELEASE)
    assert "- ingress.yaml" in written["kustomization.yaml"]
    objects = {item["kind"]: item for item in yaml.safe_load_all(written["ingress.yaml"])}
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == RELEASE.image("traefik").reference
    for name in ("web", "websecure"):
        assert f"--entrypoints.{name}.proxyprotocol.trustedips=192.168.4.21,192.168.4.22" in container["args"]
    assert "--providers.kubernetesingress.ingressendpoint.ip=192.168.4.20" in container["args"]
    assert pod["securityContext"]["runAsNonRoot"]
    service = objects["Service"]["spec"]
    assert service["externalTrafficPolicy"] == "Local", "or the balancers' addresses would not be seen"
    ports = {container_port["name"] for container_port in container["ports"]}
    assert {port["targetPort"] for port in service["ports"]} == ports
    wanted = {backend.port for s in topology.services[2:] for backend in s.backends} | {topology.services[2].check.port}
    assert {port["nodePort"] for port in service["ports"]} == wanted, "where the balancers ask"
    assert objects["IngressClass"]["spec"]["controller"] == "traefik.io/ingress-controller"
    cluster_wide = [item for item in yaml.safe_load_all(written["ingress.yaml"]) if "namespace" not in item["metadata"]]
    assert {item["kind"] for item in cluster_wide} == {
        "Namespace",
        "IngressClass",
        "ClusterRole",
        "ClusterRoleBinding",
    }
    assert all(item["metadata"]["labels"] == {"rackbox.internal/addon": "ingress"} for item in cluster_wide)


def test_without_traefik_in_the_bundle_nothing_of_it_is_applied() -> None:
    old = replace(RELEASE, images=tuple(image for image in RELEASE.images if image.name != "traefik"))
    for topology, release in ((shipped(LAB), old), (cluster_lab(ingress="none"), RELEASE)):
        written = addons(topology, release)
        assert "ingress.yaml" not in written
        assert "ingress" not in written["kustomization.yaml"]


def test_the_lab_s_own_services_keep_their_ports() -> None:
    web = {"name": "shop", "port": 80, "backend": "worker"}
    secure = {"name": "bank", "port": 8443, "backend": "worker", "host_port": 10443}
    assert names_of(cluster_lab([web])) == ["shop", "api", "ingress-https"]
    both = cluster_lab([secure])
    assert [(s.name, s.host_port) for s in both.services] == [
        ("bank", 10443),
        ("api", 16443),
        ("ingress-http", 10080),
        ("ingress-https", 0),
    ], "one port of this computer leads to one service"
    assert names_of(cluster_lab(stats=80)) == ["etcd", "api", "ingress-https"]
    bare = cluster_lab(ingress="none")
    assert (names_of(bare), bare.has_ingress) == (["etcd", "api"], False)
    assert not [record for record in bare.dns if record.name.startswith("*")]


def test_the_demo_has_an_ingress_where_port_80_leads_to_one() -> None:
    from rackbox.demo import ingress_hosts

    assert ingress_hosts(shipped(LAB)) == ("demo.apps.kube.demo", "demo.localhost")
    for topology in (cluster_lab(ingress="none"), cluster_lab(stats=80), shipped("default")):
        assert ingress_hosts(topology) == ()


def test_gluster_limits_directories_only_for_a_cluster() -> None:
    for lab, wanted in ((LAB, "yes"), ("default", "")):
        topology = shipped(lab)
        assert render_env(topology, topology.node("gluster1"))["RACKBOX_GLUSTER_QUOTA"] == wanted
        assert render_env(topology, topology.node("worker1"))["RACKBOX_GLUSTER_QUOTA"] == ""


def test_a_lab_without_balancers_has_its_one_master() -> None:
    nodes = {"gateway": None, "master": {"count": 1}, "worker": None}
    topology = plan_topology(
        parse_config(YamlFile("lab.yaml", {"name": "one", "nodes": nodes, "kubernetes": None}, {}))
    )
    assert ("api.kube.demo", "192.168.1.11") in {(record.name, str(record.address)) for record in topology.dns}
    assert [forward.argument for forward in plan_forwards(topology)] == ["api=16443=192.168.1.11:6443"]
    assert not topology.has_ingress, "there is no floating IP to serve them on"


# --- health


def documents() -> dict[str, Any]:
    topology = shipped(LAB)
    found = healthy(topology)
    view = {
        "api_ready": True,
        "nodes": {node.name: True for node in topology.kubernetes_nodes},
        "pods": 30,
        "pods_waiting": [],
    }
    for node in topology.by_role("master"):
        found[node.name]["role"] |= view
    return found


def judge(**changes: object) -> list[str]:
    found = documents()
    found["master1"]["role"] |= changes
    return judge_lab(shipped(LAB), found).all_problems


def test_a_healthy_cluster() -> None:
    health = judge_lab(shipped(LAB), documents())
    assert health.all_problems == []
    assert health.cluster is not None
    assert health.cluster.summary == "6 of 6 nodes ready, 30 of 30 pods"
    assert health_json(shipped(LAB), health)["kubernetes"]["pods"] == 30


def test_what_is_wrong_with_a_cluster() -> None:
    nodes = {node.name: True for node in shipped(LAB).kubernetes_nodes}
    assert judge(nodes={**nodes, "worker2": False}) == ["Kubernetes: not ready: worker2"]
    assert judge(nodes={k: v for k, v in nodes.items() if k != "worker3"}) == [
        "Kubernetes: not in the cluster: worker3"
    ]
    waiting = judge(pods_waiting=["ingress/traefik-1", "kube-system/coredns-1", "mine/crashing"])
    assert waiting == ["Kubernetes: pods that are not ready: ingress/traefik-1, kube-system/coredns-1"]
    assert judge(pods=0) == ["Kubernetes: no pods yet"]
    assert judge(api_ready=False) == ["master1: its API server is not ready"], "the others can be asked"


def test_no_api_server_at_all() -> None:
    found = documents()
    for name in ("master1", "master2", "master3"):
        found[name]["role"]["api_ready"] = False
    health = judge_lab(shipped(LAB), found)
    assert "Kubernetes: no API server is ready" in health.problems
    assert health.cluster is None


def test_a_lab_without_a_cluster_is_not_asked_for_one() -> None:
    topology = replace(shipped(LAB), kubernetes=None)
    assert judge_lab(topology, healthy(topology)).all_problems == []

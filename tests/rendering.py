"""Renders the shipped labs with credentials that are none, so that tests can look at every file."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from rackbox.credentials import Credentials, SshKey
from rackbox.hooks import Sources, load_sources
from rackbox.kubernetes_pki import ClusterCredentials
from rackbox.load import load_topology
from rackbox.paths import PROJECT
from rackbox.pki import KeyPair
from rackbox.release import Image, Release
from rackbox.render import VagrantTarget, render_lab
from rackbox.templating import RenderedFile, VagrantSetting
from rackbox.topology import Node, Topology

DIRECTORY = Path("/srv/labs/example")
TARGET = VagrantTarget("lxc", "rackbox/debian-13", box_version="20260102.1", directory=DIRECTORY / "rendered")


RELEASE = Release(
    name="1.36.3-amd64-00000000",
    directory=Path("/srv/bundles/1.36.3-amd64-00000000"),
    kubernetes="1.36.3",
    arch="amd64",
    source="go",
    components={"kubernetes": "1.36.3", "etcd": "3.6.8", "containerd": "2.3.7"},
    programs=frozenset({"containerd", "etcd", "kubeadm", "kubectl", "kubelet"}),
    plugins=frozenset({"bridge", "flannel", "host-local", "loopback", "portmap"}),
    images=tuple(
        Image(f"registry.example/{name}:v1.36.3", f"images/{name}.tar", f"sha256:{name}", frozenset(on))
        for name, on in {
            "coredns": ("control-plane", "worker"),
            "etcd": ("control-plane",),
            "flannel": ("control-plane", "worker"),
            "kube-apiserver": ("control-plane",),
            "kube-proxy": ("control-plane", "worker"),
            "pause": ("control-plane", "worker"),
            "gluster-csi": ("worker",),
            "csi-provisioner": ("worker",),
            "csi-resizer": ("worker",),
            "traefik": ("worker",),
        }.items()
    ),
    manifests=frozenset({"flannel.yaml", "metallb.yaml"}),
)
"""What a lab with Kubernetes is rendered for."""


@cache
def shipped(lab: str) -> Topology:
    return load_topology(PROJECT / "config" / f"{lab}.yaml")


def fake_credentials(topology: Topology) -> Credentials:
    """Texts that say what would stand there. None of them is a secret of anything."""
    return Credentials(
        directory=DIRECTORY / "secrets",
        authority=_fake_pair("the CA"),
        client=_fake_pair("the lab's user"),
        ssh=SshKey("(the lab's private SSH key)\n", "ssh-ed25519 AAAAuser rackbox-lab"),
        host_keys={
            node.name: SshKey(f"(private host key of {node.name})\n", f"ssh-ed25519 AAAA{node.name} root@{node.name}")
            for node in topology.nodes
        },
        certificates={node.name: _fake_pair(node.name) for node in topology.nodes},
        qnetd=_fake_pair("the third vote"),
        qdevice=_fake_pair("the cluster"),
        stats_password="(stats-password)",
        corosync_authkey=b"(corosync authkey)",
        cluster=fake_cluster_credentials(topology) if topology.kubernetes else None,
    )


def fake_cluster_credentials(topology: Topology) -> ClusterCredentials:
    return ClusterCredentials(
        authority=_fake_pair("the cluster's CA"),
        front_proxy=_fake_pair("the front proxy's CA"),
        accounts=("(private key of the service accounts)\n", "(public key of the service accounts)\n"),
        etcd_client=_fake_pair("the API servers, for etcd"),
        admin=_fake_pair("the cluster's admin"),
        status=_fake_pair("the masters' status"),
        nodes={node.name: _fake_pair(f"the kubelet of {node.name}") for node in topology.kubernetes_nodes},
    )


def _fake_pair(owner: str) -> KeyPair:
    return KeyPair(f"(certificate of {owner})\n", f"(private key of {owner})\n")


def settings_of(node: Node) -> tuple[VagrantSetting, ...]:
    return (
        VagrantSetting("container_name=", (node.name,)),
        VagrantSetting("customize", ("net.0.hwaddr", node.management.mac)),
        VagrantSetting("privileged=", (False,)),
    )


def without_hook_text(sources: Sources) -> Sources:
    """The same tree with each hook's text cut to its name: hooks are in git as they are, with tests of their own."""
    tree = tuple(
        file
        if "/files/" in file.path or file.path.endswith(".j2")
        else replace(file, content=f"(text of provision/{file.path})\n")
        for file in sources.tree
    )
    return Sources(sources.templates, tree)


def render(topology: Topology, *, hook_text: bool = True) -> dict[str, RenderedFile]:
    sources = load_sources() if hook_text else without_hook_text(load_sources())
    lines = {node.name: settings_of(node) for node in topology.nodes}
    release = RELEASE if topology.kubernetes else None
    return render_lab(topology, fake_credentials(topology), lines, sources, TARGET, release)


@cache
def rendered(lab: str) -> dict[str, RenderedFile]:
    """Every file of a shipped lab."""
    return render(shipped(lab))


def text(lab: str, path: str) -> str:
    content = rendered(lab)[path].content
    assert isinstance(content, str)
    return content

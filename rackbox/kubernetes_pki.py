"""The cluster's certificates, all made on the host before anything boots: ``ensure_cluster_credentials``.

With them no machine has to ask another one to be let in. A worker comes with a kubelet's certificate of its own, a
master with the keys of the cluster's authorities, from which kubeadm makes the rest there. So there is no join token
that could have expired when a machine is rebuilt, and no order in which machines have to boot.

The cluster has authorities of its own. etcd takes every certificate of the lab's CA for a client that may read and
write everything; a kubelet's must not be one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from rackbox.pki import Identity, KeyPair
from rackbox.templating import GuestFile
from rackbox.topology import Kubernetes, Node, Topology

PKI = "/etc/kubernetes/pki"
KUBELET_PKI = "/var/lib/kubelet/pki"
KUBELET_KUBECONFIG = "/etc/kubernetes/kubelet.conf"
HAPROXY_CA = "/etc/haproxy/pki/kubernetes-ca.pem"

MakePair = Callable[[str, Identity, KeyPair], KeyPair]
MakeAuthority = Callable[[str, str], KeyPair]


@dataclass(frozen=True, slots=True)
class ClusterCredentials:
    """``authority`` signs the API's and the nodes' certificates, ``front_proxy`` those of the aggregation layer,
    ``accounts`` the service accounts' tokens (a key alone, private and public). ``etcd_client`` is of the lab's CA.
    ``nodes`` are the kubelets' own, by machine; ``admin`` is the host user's, ``status`` that of a master's status."""

    authority: KeyPair = field(repr=False)
    front_proxy: KeyPair = field(repr=False)
    accounts: tuple[str, str] = field(repr=False)
    etcd_client: KeyPair = field(repr=False)
    admin: KeyPair = field(repr=False)
    status: KeyPair = field(repr=False)
    nodes: Mapping[str, KeyPair] = field(repr=False)

    def guest_files(self, kubernetes: Kubernetes, node: Node, lab_authority: KeyPair) -> tuple[GuestFile, ...]:
        """What ``node`` must hold of them, and no more."""
        if node.role == "lb":
            return (GuestFile(HAPROXY_CA, self.authority.certificate),)
        if node.name not in self.nodes:
            return ()
        own = self.nodes[node.name]
        files = [
            GuestFile(f"{PKI}/ca.crt", self.authority.certificate),
            GuestFile(f"{KUBELET_PKI}/kubelet.crt", own.certificate),
            GuestFile(f"{KUBELET_PKI}/kubelet.key", own.key, 0o600),
            GuestFile(KUBELET_KUBECONFIG, _kubelet_kubeconfig(kubernetes, node), 0o600),
        ]
        if node.role == "master":
            private, public = self.accounts
            files += [
                GuestFile(f"{PKI}/ca.key", self.authority.key, 0o600),
                GuestFile(f"{PKI}/front-proxy-ca.crt", self.front_proxy.certificate),
                GuestFile(f"{PKI}/front-proxy-ca.key", self.front_proxy.key, 0o600),
                GuestFile(f"{PKI}/sa.key", private, 0o600),
                GuestFile(f"{PKI}/sa.pub", public),
                GuestFile(f"{PKI}/etcd-ca.crt", lab_authority.certificate),
                GuestFile(f"{PKI}/etcd-client.crt", self.etcd_client.certificate),
                GuestFile(f"{PKI}/etcd-client.key", self.etcd_client.key, 0o600),
                GuestFile(f"{PKI}/status.crt", self.status.certificate),
                GuestFile(f"{PKI}/status.key", self.status.key, 0o600),
            ]
        return tuple(files)


def plan_kubelet(node: Node) -> Identity:
    """A kubelet's one certificate: as a client it is the node (node authorizer), as a server it has its names."""
    names, addresses = (node.name, node.fqdn), (str(node.address),)
    return Identity(f"system:node:{node.name}", names, addresses, True, True, ("system:nodes",))


def ensure_cluster_credentials(
    topology: Topology,
    lab_authority: KeyPair,
    make_authority: MakeAuthority,
    make_pair: MakePair,
    accounts: tuple[str, str],
) -> ClusterCredentials:
    """The cluster's credentials. The callables make and keep what they are asked for by name."""
    authority = make_authority("kubernetes/ca", f"{topology.lab} kubernetes CA")
    front_proxy = make_authority("kubernetes/front-proxy-ca", f"{topology.lab} kubernetes front proxy CA")
    admin, status = (
        Identity(f"{topology.lab} {name}", (), (), False, True, ("system:masters",)) for name in ("admin", "status")
    )
    return ClusterCredentials(
        authority,
        front_proxy,
        accounts,
        make_pair("kubernetes/etcd-client", Identity("kube-apiserver", (), (), False, True), lab_authority),
        make_pair("kubernetes/admin", admin, authority),
        make_pair("kubernetes/status", status, authority),
        {
            node.name: make_pair(f"kubernetes/nodes/{node.name}", plan_kubelet(node), authority)
            for node in topology.kubernetes_nodes
        },
    )


def kubeconfig(server: str, cluster: str, user: str, authority: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """A kubeconfig with one context named like the cluster; ``authority`` and ``identity`` are its cluster's and user's
    own keys."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, **authority}}],
        "users": [{"name": user, "user": dict(identity)}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _kubelet_kubeconfig(kubernetes: Kubernetes, node: Node) -> str:
    """A master's kubelet asks the API server beside it, as kubeadm has it: it is never newer than that one, however far
    an upgrade has come."""
    server = str(node.address) if node.role == "master" else kubernetes.endpoint
    return kubeconfig(
        f"https://{server}:{kubernetes.port}",
        kubernetes.cluster,
        f"system:node:{node.name}",
        {"certificate-authority": f"{PKI}/ca.crt"},
        {"client-certificate": f"{KUBELET_PKI}/kubelet.crt", "client-key": f"{KUBELET_PKI}/kubelet.key"},
    )

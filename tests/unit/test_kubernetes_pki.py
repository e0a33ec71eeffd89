"""The cluster's certificates: whose they are, who signed them, who holds them, and that nobody else does."""

from __future__ import annotations

import stat
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rackbox.credentials import Credentials, ensure_credentials
from rackbox.kubernetes_pki import HAPROXY_CA, KUBELET_KUBECONFIG, PKI, ClusterCredentials, plan_kubelet
from rackbox.pki import Identity, is_usable, make_authority, make_certificate
from tests.rendering import rendered, shipped

LAB = "kubernetes"


def made(tmp_path: Path) -> tuple[Credentials, ClusterCredentials]:
    credentials = ensure_credentials(shipped(LAB), tmp_path / "secrets")
    assert credentials.cluster is not None
    return credentials, credentials.cluster


def load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def held_by(credentials: Credentials, name: str) -> dict[str, str]:
    topology = shipped(LAB)
    assert credentials.cluster is not None
    assert topology.kubernetes is not None
    files = credentials.cluster.guest_files(topology.kubernetes, topology.node(name), credentials.authority)
    return {file.path: str(file.content) for file in files}


def test_a_kubelet_is_its_node_and_nothing_else(tmp_path: Path) -> None:
    _, cluster = made(tmp_path)
    certificate = load(cluster.nodes["worker2"].certificate)
    subject = {attribute.oid: attribute.value for attribute in certificate.subject}
    assert subject == {NameOID.ORGANIZATION_NAME: "system:nodes", NameOID.COMMON_NAME: "system:node:worker2"}
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["worker2", "worker2.kube.demo"]
    certificate.verify_directly_issued_by(load(cluster.authority.certificate))


def test_no_certificate_of_the_cluster_opens_etcd_but_the_api_servers(tmp_path: Path) -> None:
    """etcd takes whoever the lab's CA has signed."""
    credentials, cluster = made(tmp_path)
    lab = load(credentials.authority.certificate)
    load(cluster.etcd_client.certificate).verify_directly_issued_by(lab)
    for pair in (cluster.admin, cluster.status, *cluster.nodes.values()):
        assert load(pair.certificate).issuer != lab.subject
    authorities = {load(pair.certificate).subject.rfc4514_string() for pair in (cluster.authority, cluster.front_proxy)}
    assert len(authorities | {lab.subject.rfc4514_string()}) == 3


def test_the_accounts_key_is_a_pair(tmp_path: Path) -> None:
    _, cluster = made(tmp_path)
    private, public = cluster.accounts
    assert load_pem_private_key(private.encode(), None).public_key() == load_pem_public_key(public.encode())


def test_a_second_call_changes_nothing_and_files_are_private(tmp_path: Path) -> None:
    _, first = made(tmp_path)
    _, second = made(tmp_path)
    assert first == second
    for path in (tmp_path / "secrets/kubernetes").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_keys_are_where_they_are_needed_and_nowhere_else(tmp_path: Path) -> None:
    credentials, cluster = made(tmp_path)
    holders = {
        name: [path for path, text in held_by(credentials, name).items() if text == cluster.authority.key]
        for name in (node.name for node in shipped(LAB).nodes)
    }
    assert {name for name, paths in holders.items() if paths} == {"master1", "master2", "master3"}
    worker = held_by(credentials, "worker1")
    assert set(worker) == {
        f"{PKI}/ca.crt",
        "/var/lib/kubelet/pki/kubelet.crt",
        "/var/lib/kubelet/pki/kubelet.key",
        KUBELET_KUBECONFIG,
    }
    assert held_by(credentials, "lb1") == {HAPROXY_CA: cluster.authority.certificate}
    assert held_by(credentials, "gateway") == held_by(credentials, "gluster1") == {}


def test_a_worker_s_kubelet_asks_the_floating_ip_and_a_master_s_its_own_api_server(tmp_path: Path) -> None:
    credentials, _ = made(tmp_path)
    for name, server in (("master1", "192.168.1.11"), ("worker1", "api.kube.demo")):
        config = yaml.safe_load(held_by(credentials, name)[KUBELET_KUBECONFIG])
        assert config["clusters"][0]["cluster"]["server"] == f"https://{server}:6443"


def test_another_group_is_another_certificate() -> None:
    authority = make_authority("CA")
    node = shipped(LAB).node("worker1")
    identity = plan_kubelet(node)
    pair = make_certificate(identity, authority)
    assert is_usable(pair, identity, authority)
    for other in (("system:masters",), ("system:nodes", "more")):
        assert not is_usable(pair, Identity(*_parts(identity)[:5], other), authority)


def _parts(identity: Identity) -> tuple[str, tuple[str, ...], tuple[str, ...], bool, bool]:
    return identity.subject, identity.names, identity.addresses, identity.server, identity.client


def test_files_that_hold_a_key_are_private_in_the_machine() -> None:
    for name in ("master1", "worker1"):
        user_data = yaml.safe_load(rendered(LAB)[f"nodes/{name}/user-data"].data)
        for entry in user_data["write_files"]:
            kubeconfig = entry["path"] == KUBELET_KUBECONFIG
            if "(private key" in entry["content"] or kubeconfig:
                assert entry["permissions"] in ("0600", "0400"), entry["path"]

"""The lab's secrets: made per lab on the host before boot, kept in ``LabPaths.secrets``, never printed.

Entry point: ``ensure_credentials``. It makes what is missing and keeps what is there, so a second call changes
nothing; a machine's certificate is made again when its names no longer match. Directories are 0700, files 0600, each
replaced atomically. Nothing here may log or put a secret into a repr or an error.
"""

from __future__ import annotations

import os
import secrets
import string
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rackbox.kubernetes_pki import ClusterCredentials, ensure_cluster_credentials
from rackbox.pki import (
    Identity,
    KeyPair,
    is_usable,
    make_authority,
    make_certificate,
    make_signing_key,
    make_ssh_key,
)
from rackbox.templating import GuestFile
from rackbox.topology import MANAGEMENT, Node, Topology

AUTHKEY_BYTES = 256  # corosync-keygen(8) writes as many since corosync 3.0
PASSWORD_LENGTH = 24
CLIENT_ROLES = frozenset({"lb"})
SERVER_ROLES = frozenset({"master"})


@dataclass(frozen=True, slots=True)
class SshKey:
    """An ed25519 key in OpenSSH's formats."""

    private: str = field(repr=False)
    public: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """All secrets of one lab. ``directory`` is where they are kept."""

    directory: Path
    authority: KeyPair = field(repr=False)
    client: KeyPair = field(repr=False)
    ssh: SshKey = field(repr=False)
    host_keys: Mapping[str, SshKey] = field(repr=False)
    certificates: Mapping[str, KeyPair] = field(repr=False)
    qnetd: KeyPair = field(repr=False)
    qdevice: KeyPair = field(repr=False)
    stats_password: str = field(repr=False)
    corosync_authkey: bytes = field(repr=False)
    cluster: ClusterCredentials | None = field(default=None, repr=False)

    def guest_files(self, node: Node) -> tuple[GuestFile, ...]:
        """What ``node`` must hold of them, and no more. (Not its SSH host key: cloud-init has a place for that.)"""
        if node.role == "master":
            pair = self.certificates[node.name]
            return (
                GuestFile("/etc/etcd/pki/ca.pem", self.authority.certificate, 0o644),
                GuestFile("/etc/etcd/pki/node.pem", pair.certificate, 0o644),
                GuestFile("/etc/etcd/pki/node.key", pair.key, 0o600, "etcd:etcd"),
            )
        if node.role == "lb":
            pair = self.certificates[node.name]
            return (
                GuestFile("/etc/haproxy/pki/ca.pem", self.authority.certificate, 0o644),
                GuestFile("/etc/haproxy/pki/client.pem", pair.certificate + pair.key, 0o600),
                GuestFile("/etc/corosync/authkey", self.corosync_authkey, 0o400),
                *self._quorum_files(self.qdevice),
            )
        if node.role == "gateway":
            return self._quorum_files(self.qnetd)
        return ()

    def _quorum_files(self, own: KeyPair) -> tuple[GuestFile, ...]:
        """For the cluster's third vote and those who ask for it; ``provision/lib/nss-database`` reads them."""
        return (
            GuestFile("/etc/rackbox/quorum/ca.pem", self.authority.certificate, 0o644),
            GuestFile("/etc/rackbox/quorum/own.pem", own.certificate, 0o644),
            GuestFile("/etc/rackbox/quorum/own.key", own.key, 0o600),
        )


def ensure_credentials(topology: Topology, secrets_dir: Path) -> Credentials:
    """The lab's credentials, made where they are missing, from and in ``secrets_dir``."""
    store = _Store(secrets_dir)
    authority = _ensure_authority(store, f"rackbox {topology.lab} CA")
    client = _ensure_pair(store, "client", Identity(f"{topology.lab} user", (), (), False, True), authority)
    ssh = _ensure_ssh_key(store, "ssh/id_ed25519", f"rackbox-{topology.lab}")
    host_keys = {
        node.name: _ensure_ssh_key(store, f"ssh/{node.name}/ssh_host_ed25519_key", f"root@{node.name}")
        for node in topology.nodes
    }
    certificates = {
        node.name: _ensure_pair(store, f"nodes/{node.name}/{node.name}", plan_identity(topology, node), authority)
        for node in topology.nodes
        if node.role in CLIENT_ROLES | SERVER_ROLES
    }
    switch = topology.network(MANAGEMENT).client
    _ensure_pair(store, "fence", Identity("fence", ("fence",), (str(switch),), True, False), authority)
    # The names that corosync-qdevice and corosync-qnetd want of each other: the server's is fixed, the clients' is the
    # cluster's (corosync-qdevice-net-certutil(8)).
    qnetd = _ensure_pair(store, "qnetd", Identity("Qnetd Server", (), (), True, False), authority)
    qdevice = _ensure_pair(store, "qdevice", Identity(topology.lab, (), (), False, True), authority)
    password = store.ensure("stats-password", _make_password).decode().strip()
    authkey = store.ensure("corosync.authkey", lambda: secrets.token_bytes(AUTHKEY_BYTES))
    cluster = _ensure_cluster(topology, store, authority)
    return Credentials(
        secrets_dir, authority, client, ssh, host_keys, certificates, qnetd, qdevice, password, authkey, cluster
    )


def _ensure_cluster(topology: Topology, store: _Store, authority: KeyPair) -> ClusterCredentials | None:
    if topology.kubernetes is None:
        return None
    return ensure_cluster_credentials(
        topology,
        authority,
        lambda name, subject: _ensure_authority(store, subject, name),
        lambda name, identity, issuer: _ensure_pair(store, name, identity, issuer),
        _ensure_signing_key(store, "kubernetes/accounts"),
    )


def _ensure_signing_key(store: _Store, name: str) -> tuple[str, str]:
    private, public = store.read(f"{name}.key"), store.read(f"{name}.pub")
    if private is not None and public is not None:
        return private.decode(), public.decode()
    made = make_signing_key()
    store.write(f"{name}.key", made[0].encode())
    store.write(f"{name}.pub", made[1].encode())
    return made


def plan_identity(topology: Topology, node: Node) -> Identity:
    """Whom ``node``'s certificate is for. A master answers through the floating IP as well, so it has those names."""
    names = [node.name, node.fqdn]
    addresses = [str(node.address)]
    server = node.role in SERVER_ROLES
    if server:
        names.append("localhost")
        addresses.append("127.0.0.1")
        if topology.load_balancer is not None:
            floating = topology.load_balancer.floating_ip
            here = [service for service in topology.services if node.name in {b.name for b in service.backends}]
            names += [floating.fqdn, *(f"{service.name}.{topology.domain}" for service in here)]
            addresses.append(str(floating.address.ip))
    return Identity(node.fqdn, tuple(dict.fromkeys(names)), tuple(dict.fromkeys(addresses)), server, True)


def _ensure_authority(store: _Store, subject: str, name: str = "ca") -> KeyPair:
    certificate, key = store.read(f"{name}.pem"), store.read(f"{name}.key")
    if certificate is not None and key is not None:
        return KeyPair(certificate.decode(), key.decode())
    pair = make_authority(subject)
    store.write(f"{name}.key", pair.key.encode())
    store.write(f"{name}.pem", pair.certificate.encode())
    return pair


def _ensure_pair(store: _Store, name: str, identity: Identity, authority: KeyPair) -> KeyPair:
    certificate, key = store.read(f"{name}.pem"), store.read(f"{name}.key")
    if certificate is not None and key is not None:
        pair = KeyPair(certificate.decode(), key.decode())
        if is_usable(pair, identity, authority):
            return pair
    pair = make_certificate(identity, authority)
    store.write(f"{name}.key", pair.key.encode())
    store.write(f"{name}.pem", pair.certificate.encode())
    return pair


def _ensure_ssh_key(store: _Store, name: str, comment: str) -> SshKey:
    private, public = store.read(name), store.read(f"{name}.pub")
    if private is not None and public is not None:
        return SshKey(private.decode(), public.decode().strip())
    text, line = make_ssh_key(comment)
    store.write(name, text.encode())
    store.write(f"{name}.pub", f"{line}\n".encode())
    return SshKey(text, line)


def _make_password() -> bytes:
    alphabet = string.ascii_letters + string.digits
    return ("".join(secrets.choice(alphabet) for _ in range(PASSWORD_LENGTH)) + "\n").encode()


class _Store:
    """The secrets' directory: 0700 all the way, files 0600, replaced atomically so a reader never sees half of one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ready: set[Path] = set()

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def ensure(self, name: str, make: Callable[[], bytes]) -> bytes:
        data = self.read(name)
        if data is None:
            data = make()
            self.write(name, data)
        return data

    def write(self, name: str, data: bytes) -> None:
        path = self._root / name
        self._make_directory(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mkstemp's mode is 0600
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise

    def _make_directory(self, directory: Path) -> None:
        if directory in self._ready:
            return
        if directory != self._root:
            self._make_directory(directory.parent)
            directory.mkdir(mode=0o700, exist_ok=True)
        else:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._ready.add(directory)

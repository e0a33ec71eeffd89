"""Credentials: made once, kept, private, and never shown."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from rackbox.credentials import Credentials, ensure_credentials, plan_identity
from rackbox.hooks import load_sources
from rackbox.pki import Identity, is_usable, make_authority, make_certificate
from rackbox.render import VagrantTarget, render_lab
from rackbox.topology import Topology
from tests.rendering import rendered, shipped


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def secrets_of(credentials: Credentials) -> set[str]:
    """Every text that nobody else may know."""
    pairs = [credentials.authority, credentials.client, *credentials.certificates.values()]
    keys = [credentials.ssh, *credentials.host_keys.values()]
    return {
        credentials.stats_password,
        credentials.corosync_authkey.hex(),
        *(pair.key for pair in pairs),
        *(key.private for key in keys),
    }


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    first = ensure_credentials(shipped("small"), tmp_path / "secrets")
    before = files_of(tmp_path)
    second = ensure_credentials(shipped("small"), tmp_path / "secrets")
    assert second == first
    assert files_of(tmp_path) == before


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    ensure_credentials(shipped("small"), tmp_path / "secrets")
    for path in [tmp_path / "secrets", *(tmp_path / "secrets").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_two_labs_share_no_secret(tmp_path: Path) -> None:
    one = ensure_credentials(shipped("small"), tmp_path / "one")
    two = ensure_credentials(shipped("small"), tmp_path / "two")
    assert not secrets_of(one) & secrets_of(two)
    # Password, authkey, keys of the CA, of the client and of three machines; the user's SSH key and four host keys.
    assert len(secrets_of(one)) == 12


def test_secrets_have_no_repr_and_are_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    credentials = ensure_credentials(shipped("small"), tmp_path / "secrets")
    shown = repr(credentials) + "".join(capfd.readouterr())
    for secret in secrets_of(credentials):
        assert secret not in shown
        assert not _holds(shown.encode(), secret)


def test_ssh_keys_are_what_openssh_reads(tmp_path: Path) -> None:
    credentials = ensure_credentials(shipped("small"), tmp_path / "secrets")
    for key in [credentials.ssh, *credentials.host_keys.values()]:
        private = load_ssh_private_key(key.private.encode(), None)
        public = load_ssh_public_key(key.public.encode())
        assert private.public_key().public_bytes_raw() == public.public_bytes_raw()  # type: ignore[union-attr]


def test_a_master_answers_through_the_floating_ip_too() -> None:
    topology = shipped("default")
    identity = plan_identity(topology, topology.node("master1"))
    assert set(identity.names) >= {"master1", "master1.kube.demo", "vip.kube.demo", "etcd.kube.demo", "localhost"}
    assert set(identity.addresses) >= {"192.168.1.11", "192.168.4.20", "127.0.0.1"}
    assert identity.server
    assert identity.client
    assert not plan_identity(topology, topology.node("lb1")).server
    cluster = shipped("kubernetes")
    names = set(plan_identity(cluster, cluster.node("master1")).names)
    assert "api.kube.demo" in names
    assert "ingress-https.kube.demo" not in names, "the workers serve that"


def test_a_certificate_is_made_again_when_its_names_change(tmp_path: Path) -> None:
    topology = shipped("small")
    first = ensure_credentials(topology, tmp_path)
    moved = dataclasses.replace(topology, domain="other.demo")
    second = ensure_credentials(moved, tmp_path)
    assert second.certificates["master1"] != first.certificates["master1"]
    assert second.authority == first.authority
    assert second.host_keys == first.host_keys
    certificate = x509.load_pem_x509_certificate(second.certificates["master1"].certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "etcd.other.demo" in names.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize(
    "lost", ["ca.key", "nodes/master1/master1.key", "client.pem", "ssh/lb1/ssh_host_ed25519_key.pub"]
)
def test_what_is_lost_is_made_again_and_fits(tmp_path: Path, lost: str) -> None:
    ensure_credentials(shipped("small"), tmp_path)
    (tmp_path / lost).unlink()
    again = ensure_credentials(shipped("small"), tmp_path)
    topology = shipped("small")
    assert is_usable(again.certificates["master1"], plan_identity(topology, topology.node("master1")), again.authority)
    assert ensure_credentials(shipped("small"), tmp_path) == again


@pytest.mark.parametrize("damaged", ["client.pem", "client.key", "nodes/lb1/lb1.pem"])
def test_what_is_damaged_is_made_again(tmp_path: Path, damaged: str) -> None:
    ensure_credentials(shipped("small"), tmp_path)
    (tmp_path / damaged).write_bytes(b"half a fi")
    again = ensure_credentials(shipped("small"), tmp_path)
    assert (tmp_path / damaged).read_bytes() != b"half a fi"
    assert ensure_credentials(shipped("small"), tmp_path) == again


def test_a_certificate_of_another_ca_is_not_usable() -> None:
    identity = Identity("x", ("x",), ("192.0.2.1",), True, True)
    ours, theirs = make_authority("same name"), make_authority("same name")
    assert is_usable(make_certificate(identity, ours), identity, ours)
    assert not is_usable(make_certificate(identity, theirs), identity, ours)


def test_a_machine_gets_only_what_it_needs(tmp_path: Path) -> None:
    topology = shipped("default")
    credentials = ensure_credentials(topology, tmp_path / "secrets")
    target = VagrantTarget("lxc", "box", directory=tmp_path / "rendered")
    files = render_lab(topology, credentials, {}, load_sources(), target)
    for name, file in files.items():
        held = {secret for secret in _texts(credentials) if _holds(file.data, secret)}
        if held:
            assert file.mode == 0o600, name
        assert held <= _allowed(credentials, topology, name), name


def _texts(credentials: Credentials) -> set[str]:
    return secrets_of(credentials) - {credentials.corosync_authkey.hex()}


def _holds(data: bytes, secret: str) -> bool:
    """Whether a line that only ``secret`` has is in ``data``, however it was indented or escaped. (All ed25519 keys of
    OpenSSH's format begin alike, so the line is one near the end.)"""
    lines = secret.splitlines()
    return lines[-3 if len(lines) > 3 else 0].encode() in data


def _allowed(credentials: Credentials, topology: Topology, name: str) -> set[str]:
    parts = name.split("/")
    if parts[0] != "nodes":
        return set()
    node = topology.node(parts[1])
    own = {credentials.host_keys[node.name].private}
    if node.role in ("lb", "master"):
        own.add(credentials.certificates[node.name].key)
    if node.role == "lb":
        own.add(credentials.stats_password)
    return own


def test_rendered_examples_hold_no_real_key() -> None:
    for name, file in rendered("default").items():
        assert b"PRIVATE" + b" KEY" not in file.data, name

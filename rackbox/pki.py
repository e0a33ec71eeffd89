"""Certificates and SSH keys: ECDSA P-256 under a CA of the lab's own, ed25519 for SSH. Makes them, keeps none.

Entry points: ``make_authority``, ``make_certificate``, ``is_usable``,
``make_signing_key``, ``make_ssh_key``. It touches no file.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY = timedelta(days=3650)
RENEW_BEFORE = timedelta(days=30)
SKEW = timedelta(days=1)  # a guest's clock may be behind the host's


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate is for: subject, DNS names and addresses, and what it may be used for. ``groups`` stand in the
    subject as organizations, which Kubernetes reads as the user's groups."""

    subject: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    server: bool
    client: bool
    groups: tuple[str, ...] = ()


def make_authority(subject: str) -> KeyPair:
    """A CA that may sign leaf certificates only (path length 0)."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _builder(_name(subject), _name(subject), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate, key)


def make_certificate(identity: Identity, authority: KeyPair) -> KeyPair:
    """A new key and a certificate for ``identity``, signed by ``authority``."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.SERVER_AUTH] if identity.server else []
    if identity.client:
        uses.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    builder = (
        _builder(_name(identity.subject, identity.groups), issuer.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        # The issuer's key is ours, so of a kind that signs; its type says only that it is some public key.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)  # type: ignore[arg-type]
    )
    alternatives = _alternatives(identity)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return _pem(builder.sign(_load_key(authority), hashes.SHA256()), key)


def is_usable(pair: KeyPair, identity: Identity, authority: KeyPair) -> bool:
    """Whether ``pair`` still says what ``identity`` says, is signed by ``authority``, and will be valid for a while."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
        issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
        certificate.verify_directly_issued_by(issuer)
        belongs = _load_key(pair).public_key() == certificate.public_key()
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    fresh = certificate.not_valid_after_utc - datetime.now(UTC) > RENEW_BEFORE
    if identity.groups and certificate.subject != _name(identity.subject, identity.groups):
        return False
    return belongs and fresh and _read_alternatives(certificate) == set(_alternatives(identity))


def make_signing_key() -> tuple[str, str]:
    """A new ECDSA P-256 key without a certificate: private and public part, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def make_ssh_key(comment: str) -> tuple[str, str]:
    """A new ed25519 key: the private key in OpenSSH's format, and the public key's line."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return private, f"{public} {comment}"


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALIDITY)
    )


def _name(subject: str, groups: tuple[str, ...] = ()) -> x509.Name:
    # RFC 5280's upper bound of a common name is 64 characters; names that matter are in the alternative names.
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, subject[:64])])


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(identity: Identity) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.names]
    return names + [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.addresses]


def _read_alternatives(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(extension.value)


def _load_key(pair: KeyPair) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pair.key.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic-curve key")
    return key


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return KeyPair(certificate.public_bytes(Encoding.PEM).decode(), private)

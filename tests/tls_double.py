"""What doubles of servers have in common: TLS with client certificates on 127.0.0.1, in a thread of their own, and the
certificates for that (``make_credentials``)."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "etcd.kube.demo"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TlsDouble(ABC):
    """Use as a context manager; ``port`` is where it listens, ``directory`` holds ca.pem, client.pem, client.key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_credentials(directory)
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    @abstractmethod
    async def listen(self) -> list[asyncio.Server]:
        """Open the doors, and set ``port``."""

    async def listen_tls(self, serve: Serve) -> asyncio.Server:
        """A door at which a client certificate is asked for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.pem", self.directory / "server.key")
        context.load_verify_locations(self.directory / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)

    def abort_all(self, writers: Iterable[asyncio.StreamWriter]) -> None:
        """To be called from another thread: these connections end, without a goodbye."""

        def cut() -> None:
            for writer in list(writers):
                writer.transport.abort()

        self.loop.call_soon_threadsafe(cut)

    def _run(self) -> None:
        servers = self.loop.run_until_complete(self.listen())
        self._ready.set()
        self.loop.run_forever()
        for server in servers:
            server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def make_credentials(directory: Path, server_name: str = NAME) -> None:
    """A CA, a server's and a client's certificate, good for an hour."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    authority = _sign("test CA", ca_key, None, ca_key, [], is_ca=True)
    (directory / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for name, alternatives in (("server", [server_name]), ("client", [])):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(name, key, authority, ca_key, alternatives, is_ca=False)
        (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    alternatives: list[str],
    is_ca: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if alternatives:
        names: list[x509.GeneralName] = [x509.DNSName(text) for text in alternatives]
        names.append(x509.IPAddress(ip_address("127.0.0.1")))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())

"""A double of etcd's JSON gateway on 127.0.0.1, with TLS and client certificates, that can be made to fail for a time.

It keeps keys with their versions as etcd does. ``refuse_until`` (monotonic seconds) makes it drop every connection;
``stall_until`` makes it accept and say nothing; ``forget`` and ``repeat`` make it a liar about writes, ``lose_event``,
``repeat_event`` and ``swap_events`` about watches, each for one event. ``cut_streams`` ends all watches,
``cut_connections`` everything; ``mute_until`` lets requests in and answers none, ``hush_until``
makes open watches fall silent for ever.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import os
import ssl
import threading
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "etcd.kube.demo"


class EtcdDouble:
    """Use as a context manager; ``port`` is where it listens, ``directory`` holds ca.pem, client.pem, client.key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_credentials(directory)
        self.refuse_until = 0.0
        self.stall_until = 0.0
        self.forget = False
        self.repeat = False
        self.lose_event = False
        self.hush_until = 0.0
        self.repeat_event = False
        self.swap_events = False
        self.connections = 0
        self.mute_until = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self.chunked = False
        self.status = 200
        self.port = 0
        self._inner_port = 0
        self.requests: list[tuple[float, str]] = []
        self.protocols: set[str | None] = set()
        self.resumed = 0
        self._kept: dict[str, tuple[str, int]] = {}
        self._events: list[dict[str, Any]] = []
        self._watches: list[tuple[asyncio.StreamWriter, str, str]] = []
        self._held_back: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> EtcdDouble:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # on a busy computer it must answer in time all the same
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.pem", self.directory / "server.key")
        context.load_verify_locations(self.directory / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        inner = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context))
        outer = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self._inner_port = inner.sockets[0].getsockname()[1]
        self.port = outer.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        inner.close()
        outer.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The outer door, where connections are dropped or left hanging before any TLS is spoken."""
        try:
            if time.monotonic() < self.refuse_until:
                return
            while time.monotonic() < self.stall_until:
                await asyncio.sleep(0.005)
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
            await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        self.protocols.add(tls.version())
        self.resumed += bool(tls.session_reused)
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        message = json.loads(await reader.readexactly(length))
        self.requests.append((time.monotonic(), path))
        if path == "/v3/watch":
            await self._watch(message["create_request"], reader, writer)
            return False
        while time.monotonic() < self.mute_until:
            await asyncio.sleep(0.005)
        body = json.dumps(self._answer(path.rpartition("/")[2], message)).encode()
        if self.chunked:
            half = len(body) // 2
            parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (self.status, len(body), body))
        await writer.drain()
        return "connection: keep-alive" in head.lower()

    async def _watch(self, wish: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Events from ``start_revision`` on, until either side hangs up."""
        first = int(wish.get("start_revision", self.revision + 1))
        start, end = (base64.b64decode(wish[name]).decode() for name in ("key", "range_end"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._tell(writer, {"header": self._header, "created": True})
        for event in self._events:
            if int(event["kv"]["mod_revision"]) >= first:
                self._tell(writer, {"header": self._header, "events": [event]})
        self._watches.append((writer, start, end))
        await reader.read()

    def _tell(self, writer: asyncio.StreamWriter, result: dict[str, Any]) -> None:
        line = json.dumps({"result": result}).encode() + b"\n"
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _publish(self, key: str, value: str) -> None:
        revision = str(self.revision + 1)
        event = {"kv": {"key": base64.b64encode(key.encode()).decode(), "value": value, "mod_revision": revision}}
        self._events.append(event)
        if time.monotonic() < self.hush_until:
            self._watches.clear()
            return
        if self.lose_event:
            self.lose_event = False
            return
        events = [event, event] if self.repeat_event else [event]
        self.repeat_event = False
        if self.swap_events:
            self.swap_events = False
            self._held_back = events
            return
        events += self._held_back
        self._held_back = []
        for writer, start, end in self._watches:
            if start <= key < end and not writer.is_closing():
                self._tell(writer, {"header": self._header, "events": events})

    def cut_connections(self) -> None:
        """Every connection, whatever it does."""

        def cut() -> None:
            for writer in list(self._writers):
                writer.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    def cut_streams(self) -> None:
        def cut() -> None:
            for writer, _, _ in self._watches:
                writer.transport.abort()
            self._watches.clear()

        self._loop.call_soon_threadsafe(cut)

    @property
    def revision(self) -> int:
        return len(self._events) + 1

    @property
    def _header(self) -> dict[str, str]:
        return {"cluster_id": "1", "member_id": "255", "revision": str(self.revision), "raft_term": "2"}

    def _answer(self, method: str, message: dict[str, Any]) -> dict[str, Any]:
        header = self._header
        key = base64.b64decode(message["key"]).decode()
        if method == "put":
            if not self.forget:
                value, version = message["value"], self._kept.get(key, ("", 0))[1]
                self._kept[key] = (value, version + (2 if self.repeat else 1))
                self._publish(key, value)
            return {"header": self._header}
        if "range_end" in message:
            end = base64.b64decode(message["range_end"]).decode()
            keys = [name for name in self._kept if key <= name < end]
        else:
            keys = [key] if key in self._kept else []
        if method == "deleterange":
            for name in keys:
                del self._kept[name]
            return {"header": header, "deleted": str(len(keys))}
        entries = [
            {
                "key": base64.b64encode(name.encode()).decode(),
                "value": self._kept[name][0],
                "version": str(self._kept[name][1]),
            }
            for name in keys
        ]
        return {"header": header, "kvs": entries, "count": str(len(keys))}

    @property
    def tls_port(self) -> int:
        """Where it speaks TLS at once, past the door at which connections are dropped."""
        return self._inner_port

    @property
    def keys(self) -> list[str]:
        return list(self._kept)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


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

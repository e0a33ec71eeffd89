"""HTTPS as the probes need it: TCP, TLS 1.3, requests and answers, on a connection that the caller opens and closes.

By hand, because each attempt must be exactly what it says and timed as that: client libraries keep connections, resume
sessions and retry, which is what a failover measurement must not do unasked. HTTP/1.1 (RFC 9112). On a plain
non-blocking socket: asyncio's streams cost half as much again, and a probe opens fifty connections a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Collection

from rackbox.probes.base import ProbeFailed
from rackbox.probes.endpoints import TlsEndpoint

MAX_ANSWER = 16 * 1024 * 1024
JSON = "application/json"
_MAX_HEAD = 64 * 1024
_LINGER_SECONDS = 1.0
_READ_SIZE = 64 * 1024


def make_context(endpoint: TlsEndpoint) -> ssl.SSLContext:
    """Trusts the endpoint's CA and nothing else, shows the client certificate, never resumes a session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(endpoint.ca)
    context.load_cert_chain(endpoint.certificate, endpoint.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connection:
    """One TLS connection. Every method may raise ``OSError``, ``EOFError`` or ``ProbeFailed`` (an answer that is not
    HTTP, or a status that is no good one); after that, and after a cancellation, it is only good for ``abort``."""

    def __init__(self, stream: ssl.SSLSocket, host: str) -> None:
        self._stream = stream
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self.reusable = False

    @classmethod
    async def open(cls, endpoint: TlsEndpoint, context: ssl.SSLContext) -> Connection:
        loop = asyncio.get_running_loop()
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        plain.setblocking(False)
        try:
            await loop.sock_connect(plain, (endpoint.address, endpoint.port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = context.wrap_socket(plain, server_hostname=endpoint.server_name, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise
        connection = cls(stream, endpoint.server_name)
        try:
            while True:
                try:
                    stream.do_handshake()
                    return connection
                except ssl.SSLWantReadError:
                    await connection._readable()
        except BaseException:
            connection.abort()
            raise

    async def post(self, path: str, body: bytes, keep: bool = False) -> bytes:
        """Send ``body`` (JSON), return the answer's body. ``reusable`` says afterwards whether another may follow."""
        return (await self.request("POST", path, body, keep=keep))[1]

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        content: str = JSON,
        keep: bool = False,
        good: Collection[str] = ("200",),
    ) -> tuple[str, bytes]:
        """Send ``body`` (of the type ``content``), return status and body of the answer. The status must be a ``good``
        one."""
        self._send(method, path, body, keep, content)
        status, headers = await self._read_head()
        if "chunked" in headers.get("transfer-encoding", "").lower():
            parts = [part async for part in self._chunks(MAX_ANSWER)]
            answer, whole = b"".join(parts), True
        elif headers.get("content-length", "").isdigit() and int(headers["content-length"]) <= MAX_ANSWER:
            answer, whole = await self._exactly(int(headers["content-length"])), True
        else:
            answer, whole = await self._rest(), False
        self.reusable = keep and whole and headers.get("connection", "").lower() != "close"
        if status not in good:
            raise ProbeFailed(f"HTTP {status}: {answer[:120].decode(errors='replace')}")
        return status, answer

    async def open_stream(self, path: str, body: bytes = b"", method: str = "POST") -> AsyncIterator[bytes]:
        """Send ``body``; when the answer has begun, the lines of it. It is one that never ends of itself."""
        self._send(method, path, body, True, JSON)
        status, headers = await self._read_head()
        if status != "200":
            raise ProbeFailed(f"HTTP {status}")
        if "chunked" not in headers.get("transfer-encoding", "").lower():
            raise ProbeFailed("the stream is not chunked")
        return self._lines()

    async def _lines(self) -> AsyncIterator[bytes]:
        rest = b""
        async for part in self._chunks(None):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                if line.strip():
                    yield line

    def watch_peer(self, idle: int, interval: int, count: int) -> None:
        """TCP keep-alive (tcp(7); seconds, seconds, probes): a connection whose other end is gone is told so."""
        for option, value in (
            (socket.TCP_KEEPIDLE, idle),
            (socket.TCP_KEEPINTVL, interval),
            (socket.TCP_KEEPCNT, count),
        ):
            self._stream.setsockopt(socket.IPPROTO_TCP, option, value)
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def is_quiet(self) -> bool:
        """Whether the other end has said nothing more, not even goodbye: only then may an idle connection be reused."""
        if self._buffer:
            return False
        try:
            self._stream.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Let the other end say goodbye first, as it will after ``Connection: close``: a socket that is closed with
        something unread in it answers with a reset."""
        if self._ended():
            self._stream.close()
            return
        late = self._loop.call_later(_LINGER_SECONDS, self._drop)

        def look() -> None:
            if self._ended():
                late.cancel()
                self._drop()

        self._loop.add_reader(self._stream.fileno(), look)

    def abort(self) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._stream.fileno() >= 0:
            self._loop.remove_reader(self._stream.fileno())
        self._stream.close()

    def _ended(self) -> bool:
        try:
            while self._stream.recv(_READ_SIZE):
                pass
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
        return True

    def _send(self, method: str, path: str, body: bytes, keep: bool, content: str) -> None:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: {content}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        # A request fits into an empty send buffer; one that does not go out at once finds no room, and nobody there.
        if self._stream.send(head.encode() + body) != len(head) + len(body):
            raise ProbeFailed("the request could not be sent whole")

    async def _readable(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        descriptor = self._stream.fileno()
        self._loop.add_reader(descriptor, _wake, waiter)
        try:
            await waiter
        finally:
            self._loop.remove_reader(descriptor)

    async def _more(self) -> bool:
        """Read what there is, waiting for it; False at the end."""
        while True:
            try:
                data = self._stream.recv(_READ_SIZE)
            except ssl.SSLWantReadError:
                await self._readable()
                continue
            self._buffer += data
            return bool(data)

    async def _until(self, mark: bytes, limit: int = _MAX_HEAD) -> bytes:
        seen = 0
        while (place := self._buffer.find(mark, max(0, seen - len(mark)))) < 0:
            seen = len(self._buffer)
            if seen > limit:
                raise ProbeFailed("the answer's head is too long")
            if not await self._more():
                raise EOFError(f"the connection ended in the middle of an answer ({seen} bytes)")
        return self._take(place + len(mark))[: -len(mark)]

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._more():
                raise EOFError(f"the connection ended in the middle of an answer ({len(self._buffer)} bytes)")
        return self._take(size)

    async def _rest(self) -> bytes:
        while len(self._buffer) < MAX_ANSWER and await self._more():
            pass
        return self._take(len(self._buffer))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _read_head(self) -> tuple[str, dict[str, str]]:
        head = (await self._until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise ProbeFailed(f"not HTTP: {first[:60]!r}")
        return words[1], {name.strip().lower(): text.strip() for name, _, text in (x.partition(":") for x in lines)}

    async def _chunks(self, limit: int | None) -> AsyncIterator[bytes]:
        total = 0
        while True:
            text = (await self._until(b"\r\n")).split(b";")[0].strip()
            try:
                size = int(text, 16)
            except ValueError as error:
                raise ProbeFailed("broken chunk in the answer") from error
            if size == 0:
                await self._until(b"\r\n")  # no trailers are asked for, so this is the empty line
                return
            total += size
            if (limit is not None and total > limit) or size > MAX_ANSWER:
                raise ProbeFailed("the answer is too long")
            yield (await self._exactly(size + 2))[:-2]


async def post(endpoint: TlsEndpoint, context: ssl.SSLContext, path: str, body: bytes) -> bytes:
    """One request on a connection of its own. The caller bounds the time."""
    return (await request(endpoint, context, "POST", path, body))[1]


async def request(
    endpoint: TlsEndpoint,
    context: ssl.SSLContext,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    content: str = JSON,
    good: Collection[str] = ("200",),
) -> tuple[str, bytes]:
    """The same with any method: status and body of the answer."""
    connection = await Connection.open(endpoint, context)
    try:
        answer = await connection.request(method, path, body, content=content, good=good)
    except BaseException:
        connection.abort()
        raise
    connection.close()
    return answer


def read_json(answer: bytes) -> dict[str, object]:
    """An answer that must be a JSON object; raises ``ProbeFailed``."""
    with contextlib.suppress(ValueError):
        data = json.loads(answer)
        if isinstance(data, dict):
            return data
    raise ProbeFailed(f"not a JSON object: {answer[:60]!r}")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

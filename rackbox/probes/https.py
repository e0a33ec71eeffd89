"""One HTTPS request on a new connection: TCP, TLS 1.3, one request, one answer.

By hand, because each attempt must be exactly that and timed as that: client libraries keep connections, resume
sessions and retry, which is what a failover measurement must not do. HTTP/1.1 (RFC 9112), ``Connection: close``.
"""

from __future__ import annotations

import asyncio
import ssl

from rackbox.probes.base import ProbeFailed, ProbeSettings

MAX_ANSWER = 16 * 1024 * 1024


def make_context(settings: ProbeSettings) -> ssl.SSLContext:
    """Trusts the lab's CA and nothing else, shows the client certificate, never resumes a session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(settings.ca)
    context.load_cert_chain(settings.certificate, settings.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def post(settings: ProbeSettings, context: ssl.SSLContext, path: str, body: bytes) -> bytes:
    """Send ``body`` (JSON) and return the answer's body. The caller bounds the time.

    Raises ``OSError``, ``EOFError`` or ``ProbeFailed`` (a status other than 200, an answer that is not HTTP)."""
    reader, writer = await asyncio.open_connection(
        settings.address, settings.port, ssl=context, server_hostname=settings.server_name, ssl_shutdown_timeout=1.0
    )
    try:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {settings.server_name}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await _read_answer(reader)
    except BaseException:
        writer.transport.abort()
        raise
    writer.close()
    return answer


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError as error:
        raise ProbeFailed("the answer's head is too long") from error
    status, *lines = head.split("\r\n")
    words = status.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise ProbeFailed(f"not HTTP: {status[:60]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = await _read_chunks(reader)
    elif headers.get("content-length", "").isdigit() and int(headers["content-length"]) <= MAX_ANSWER:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read(MAX_ANSWER)
    if words[1] != "200":
        raise ProbeFailed(f"HTTP {words[1]}: {body[:120].decode(errors='replace')}")
    return body


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size_text = (await reader.readuntil(b"\r\n")).split(b";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError as error:
            raise ProbeFailed("broken chunk in the answer") from error
        if size == 0:
            return body
        if len(body) + size > MAX_ANSWER:
            raise ProbeFailed("the answer is too long")
        body += (await reader.readexactly(size + 2))[:-2]

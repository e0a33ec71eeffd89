"""Looks up the floating IP's name at the gateway: one UDP question, one answer, a new socket and port each time.

By hand (RFC 1035, section 4) rather than by a resolver, which would cache, ask again and try another server; one
question and its A record are 40 lines.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from ipaddress import IPv4Address

from rackbox.probes.base import Probe, ProbeFailed
from rackbox.probes.endpoints import DnsEndpoint

_HEADER = struct.Struct("!6H")  # identifier, flags, and how many questions, answers, authorities, additionals
_TYPE_A, _CLASS_IN = 1, 1
_FLAG_ANSWER, _FLAG_TRUNCATED, _FLAG_RECURSE = 0x8000, 0x0200, 0x0100
_RCODES = {1: "format error", 2: "server failure", 3: "no such name", 4: "not implemented", 5: "refused"}


class DnsLookup(Probe[DnsEndpoint]):
    name = "dns"
    summary = "a lookup of the floating IP's name at the gateway"
    aims_at = DnsEndpoint

    async def attempt(self, seq: int) -> str:
        found = await look_up(self.endpoint.server, self.endpoint.port, self.endpoint.name)
        if found != [self.endpoint.expected]:
            raise ProbeFailed(f"{self.endpoint.name}: {', '.join(found) or 'no address'}")
        return ""


async def look_up(server: str, port: int, name: str) -> list[str]:
    """The addresses of ``name``, asked once of that server. The caller bounds the time."""
    loop = asyncio.get_running_loop()
    identifier = secrets.randbelow(65536)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.setblocking(False)
        plain.connect((server, port))  # only so that a refusal (ICMP) is heard
        plain.send(pack_question(identifier, name))
        while True:
            message = await loop.sock_recv(plain, 4096)
            if message[:2] == identifier.to_bytes(2, "big"):
                return unpack_addresses(message)


def pack_question(identifier: int, name: str) -> bytes:
    """A question for the A records of ``name``."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return _HEADER.pack(identifier, _FLAG_RECURSE, 1, 0, 0, 0) + question + struct.pack("!2H", _TYPE_A, _CLASS_IN)


def unpack_addresses(message: bytes) -> list[str]:
    """The addresses in an answer. Raises ``ProbeFailed`` for one that says no, or that cannot be read."""
    try:
        _, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
        if not flags & _FLAG_ANSWER or flags & _FLAG_TRUNCATED:
            raise ProbeFailed("not a whole DNS answer")
        if code := flags & 0xF:
            raise ProbeFailed(f"DNS: {_RCODES.get(code, f'code {code}')}")
        place = _HEADER.size
        for _ in range(questions):
            place = _skip_name(message, place) + 4
        found = []
        for _ in range(answers):
            place = _skip_name(message, place)
            kind, family, _, size = struct.unpack_from("!HHIH", message, place)
            place += 10
            if (kind, family, size) == (_TYPE_A, _CLASS_IN, 4):
                found.append(str(IPv4Address(message[place : place + 4])))
            place += size
    except (struct.error, IndexError, ValueError) as error:
        raise ProbeFailed(f"DNS answer of {len(message)} bytes cannot be read") from error
    return found


def _skip_name(message: bytes, place: int) -> int:
    """Past a name: labels up to an empty one, or up to a pointer (RFC 1035, 4.1.4)."""
    while length := message[place]:
        if length >= 0xC0:
            return place + 2
        place += 1 + length
    return place + 1

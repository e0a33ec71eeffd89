"""Who answers for the floating IP, as a client on the same network would find out: by asking.

An ARP who-has (RFC 826) every interval, and every MAC that answers it; announcements (gratuitous ARP) as they pass; and
the client kernel's own neighbour entry at each change. Two holders show as two MACs in one attempt.

The question must change nothing: if the client's kernel heard the answers, its neighbour entry would be mended by our
asking, and the balancers would learn of the client from it. So it is asked as an ARP probe (RFC 5227: sender address
0.0.0.0, which nobody keeps) from a made-up MAC. The answers go to that MAC, which the kernel ignores as somebody else's
and this socket sees (promiscuous mode, packet(7)); its last three bytes are the attempt's number, so each answer
belongs to one question.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from rackbox.probes.base import Answer, Probe, ProbeFailed, ProbeSettings
from rackbox.probes.endpoints import AddressEndpoint

_ETH_P_ARP = 0x0806
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2
_BROADCAST, _NOBODY = b"\xff" * 6, b"\0" * 6
_ASKER = b"\x02rb"  # locally administered (IEEE 802), then three bytes of the attempt's number
_PACKET_MR_PROMISC = 1
_COMPLETE = 0x2  # ATF_COM in /proc/net/arp: the entry has a MAC that is in use


@dataclass(frozen=True, slots=True)
class Arp:
    """What an ARP packet says. ``asked_by`` is the number of the attempt that it answers, None for anybody else's."""

    reply: bool
    sender: str
    sender_address: IPv4Address
    target_address: IPv4Address
    asked_by: int | None


@dataclass(slots=True)
class _Question:
    macs: set[str] = field(default_factory=set)
    first: float = 0.0


class FloatingIpArp(Probe[AddressEndpoint]):
    name = "floating-ip-arp"
    summary = "who answers an ARP who-has for the floating IP"
    aims_at = AddressEndpoint
    timeout = 0.2  # seconds: a kernel answers from its interrupt, in well under a millisecond

    def __init__(self, settings: ProbeSettings, endpoint: AddressEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._address = IPv4Address(endpoint.address)
        interface = find_interface(self._address, Path("/proc/net/route").read_text())
        self._interface = interface
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
        self._socket.setblocking(False)
        self._socket.bind((interface, _ETH_P_ARP))
        membership = struct.pack("iHH8s", socket.if_nametoindex(interface), _PACKET_MR_PROMISC, 0, b"")
        self._socket.setsockopt(263, 1, membership)  # SOL_PACKET, PACKET_ADD_MEMBERSHIP: Python does not name them
        self._table = os.open("/proc/net/arp", os.O_RDONLY | os.O_CLOEXEC)
        self._open: dict[int, _Question] = {}
        self._neighbour: str | None = None

    async def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._hear)
        self._look_at_neighbour()

    async def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    async def attempt(self, seq: int) -> str:
        """Ask, and listen until the runner says that the time is up: a second holder may answer after the first."""
        self._look_at_neighbour()
        number = seq & 0xFFFFFF
        self._open[number] = _Question()
        try:
            self._socket.send(pack_question(number, self._address))
            await asyncio.get_running_loop().create_future()
        except OSError:
            del self._open[number]
            raise
        raise ProbeFailed("nobody waits for ever")  # not reached

    def overdue(self, seq: int) -> str | Answer:
        question = self._open.pop(seq & 0xFFFFFF)
        return Answer(" ".join(sorted(question.macs)), question.first) if question.macs else ""

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = self._socket.recv(2048)
                if (arp := unpack(frame)) is None or arp.sender_address != self._address:
                    continue
                if arp.reply and arp.asked_by is not None:
                    if (question := self._open.get(arp.asked_by)) is not None:
                        question.first = question.first or time.monotonic()
                        question.macs.add(arp.sender)
                elif arp.target_address == self._address:
                    self.note("arp-announce", mac=arp.sender, op="reply" if arp.reply else "request")

    def _look_at_neighbour(self) -> None:
        """Polled, at each attempt: what lasted less than an interval may be missed."""
        os.lseek(
            self._table, 0, os.SEEK_SET
        )  # from the start it is made anew; to open it each time costs four times as much
        mac = read_neighbour(os.read(self._table, 1 << 20).decode(), str(self._address), self._interface)
        if mac != self._neighbour:
            self._neighbour = mac
            self.note("neighbour", mac=mac)


def find_interface(address: IPv4Address, routes: str) -> str:
    """The interface on whose own network ``address`` is. ``routes`` is the text of /proc/net/route (proc(5)): words
    in hexadecimal as they lie in memory."""
    found: list[tuple[int, str]] = []
    for line in routes.splitlines()[1:]:
        words = line.split()
        network, gateway, mask = (socket.htonl(int(words[place], 16)) for place in (1, 2, 7))
        if gateway == 0 and mask and int(address) & mask == network:
            found.append((mask, words[0]))
    if not found:
        raise ValueError(f"{address} is on no network of this place: ARP cannot be asked from here")
    return max(found)[1]


def read_neighbour(table: str, address: str, interface: str) -> str:
    """The MAC that the kernel uses for ``address``; empty if it has none. ``table`` is the text of /proc/net/arp."""
    for line in table.splitlines()[1:]:
        words = line.split()
        if words[0] == address and words[5] == interface and int(words[2], 16) & _COMPLETE:
            return words[3].lower()
    return ""


def pack_question(number: int, address: IPv4Address) -> bytes:
    """An Ethernet frame that asks who has ``address``."""
    asker = _ASKER + number.to_bytes(3, "big")
    ethernet = _ETHERNET.pack(_BROADCAST, asker, _ETH_P_ARP)
    return ethernet + _ARP.pack(1, 0x0800, 6, 4, _REQUEST, asker, bytes(4), _NOBODY, address.packed)


def unpack(frame: bytes) -> Arp | None:
    """What an Ethernet frame with IPv4 ARP in it says; None for any other."""
    if len(frame) < _ETHERNET.size + _ARP.size or frame[12:14] != _ETH_P_ARP.to_bytes(2, "big"):
        return None
    hardware, protocol, *sizes, op, sender, sender_address, target, target_address = _ARP.unpack_from(
        frame, _ETHERNET.size
    )
    if (hardware, protocol, *sizes) != (1, 0x0800, 6, 4) or op not in (_REQUEST, _REPLY):
        return None
    asked_by = int.from_bytes(target[3:], "big") if target[:3] == _ASKER else None
    return Arp(op == _REPLY, sender.hex(":"), IPv4Address(sender_address), IPv4Address(target_address), asked_by)

#!/usr/bin/python3
"""Hands the floating IP from one balancer to the other while both are well, with a gap of a few milliseconds.

The OCF agent ``floating-ip`` starts it: ``give`` on the holder (migrate_to), then ``take`` on the other one
(migrate_from). They talk by ARP (RFC 826, RFC 5227), and nobody has the address before the other has let go of it:

1. ``take`` asks all who has the address, as a probe does. The holder's kernel answers.
2. ``take`` claims the address: an announcement, but to the holder alone, so that no client hears of it yet.
3. ``give`` has waited for that. It deletes the address, and then asks the claimer alone who has it.
4. A holder that asks has it no more: ``take`` adds the address and announces it to all.

What was lost is sent again. ``take`` gives up in time and changes nothing; Pacemaker then stops and starts. ``give``
never adds the address. Whoever can forge ARP on this network can make it let go, while it waits; he could answer for
the address at any time. Entry point: ``main``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time

LISTEN_SECONDS = 20.0  # from migrate_to until the claim: Pacemaker has to start migrate_from meanwhile
PATIENCE_SECONDS = 1.0  # with the claim; the holder serves as long as it has not heard it
AGAIN_SECONDS = 0.02

FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")  # Ethernet: to, from, type; ARP: formats, operation, sender, target
ETHERTYPE = 0x0806
FORMATS = (1, 0x0800, 6, 4)  # Ethernet and IPv4, and how long their addresses are
REQUEST, REPLY = 1, 2
EVERYBODY, UNKNOWN, NO_IP = b"\xff" * 6, bytes(6), bytes(4)
TO_US_ALONE = 0  # PACKET_HOST of packet(7): not broadcast, and not another machine's

ADD, DELETE = (20, 0x600), (21, 0)  # RTM_NEWADDR with NLM_F_CREATE | NLM_F_EXCL, RTM_DELADDR
ACKNOWLEDGED_REQUEST = 0x5  # NLM_F_REQUEST | NLM_F_ACK
IFA_LOCAL = 2


def pack(to: bytes, own: bytes, sender_ip: bytes, ip: bytes) -> bytes:
    """A frame that asks for ``ip``: with it as ``sender_ip`` an announcement, with 0.0.0.0 a probe (RFC 5227, 1.1)."""
    return FRAME.pack(to, own, ETHERTYPE, *FORMATS, REQUEST, own, sender_ip, UNKNOWN, ip)


def read(frame: bytes, ip: bytes) -> tuple[str, bytes]:
    """What a frame says of ``ip``, and the MAC that says so: it ``has`` it (an answer), ``claims`` it (an announcement)
    or ``asks`` for it (a probe); "" for all else."""
    if len(frame) < FRAME.size:
        return "", UNKNOWN
    _, source, ethertype, *formats, operation, mac, sender_ip, _, target_ip = FRAME.unpack_from(frame)
    if ethertype != ETHERTYPE or tuple(formats) != FORMATS or mac != source:
        return "", UNKNOWN
    said = ""
    if operation == REPLY and sender_ip == ip:
        said = "has"
    elif operation == REQUEST and target_ip == ip:
        said = {ip: "claims", NO_IP: "asks"}.get(sender_ip, "")
    return said, mac


def change_address(how: tuple[int, int], nic: str, ip: bytes, length: int) -> int:
    """Add or delete the address (rtnetlink(7)); 0, or the kernel's error number. Without IFA_ADDRESS it is deleted
    whatever its prefix length is."""
    kind, flags = how
    body = struct.pack("=BBBBIHH4s", socket.AF_INET, length, 0, 0, socket.if_nametoindex(nic), 8, IFA_LOCAL, ip)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), kind, ACKNOWLEDGED_REQUEST | flags, 1, 0) + body)
        answer: tuple[int] = struct.unpack_from("=i", route.recv(4096), 16)
    return -answer[0]


class Link:
    """ARP for one address on one network card."""

    def __init__(self, nic: str, ip: str) -> None:
        self.nic = nic
        self.ip = socket.inet_aton(ip)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((nic, ETHERTYPE))
        self.own: bytes = self.socket.getsockname()[4]

    def probe(self, to: bytes) -> None:
        self.socket.send(pack(to, self.own, NO_IP, self.ip))

    def announce(self, to: bytes) -> None:
        self.socket.send(pack(to, self.own, self.ip, self.ip))

    def hear(self, until: float) -> tuple[str, bytes] | None:
        """The next that is said to this machine alone; None when it is ``until`` (monotonic seconds)."""
        while (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                frame, source = self.socket.recvfrom(FRAME.size)
            except TimeoutError:
                return None
            said, mac = read(frame, self.ip)
            if said and source[2] == TO_US_ALONE:
                return said, mac
        return None


def give(link: Link, length: int) -> None:
    """Let go of the address when it is claimed, and tell whoever was the first to claim it."""
    until = time.monotonic() + LISTEN_SECONDS
    taker = b""
    while word := link.hear(until):
        said, mac = word
        if said != "claims" or mac != (taker or mac):
            continue
        taker = mac
        if change_address(DELETE, link.nic, link.ip, length) not in (0, errno.EADDRNOTAVAIL):
            return
        link.probe(mac)


def take(link: Link, length: int) -> str:
    """Have the holder let go of the address, and add it; "", or why not."""
    until = time.monotonic() + PATIENCE_SECONDS
    holder = b""
    while (now := time.monotonic()) < until:
        if holder:
            link.announce(holder)
        else:
            link.probe(EVERYBODY)
        while word := link.hear(min(now + AGAIN_SECONDS, until)):
            said, mac = word
            if said == "has" and not holder:
                holder = mac
                break
            if said == "has" and mac != holder:
                return f"two machines have the address: {holder.hex(':')} and {mac.hex(':')}"
            # Late means that this machine did not run meanwhile: who knows what became of the address.
            if said == "asks" and mac == holder and time.monotonic() < until:
                failed = change_address(ADD, link.nic, link.ip, length)
                if not failed:
                    link.announce(EVERYBODY)
                return os.strerror(failed) if failed else ""
    return f"{holder.hex(':')} did not let go of the address" if holder else "nobody has the address"


def detach() -> None:
    """Tell the agent, which waits for it, that this process listens; from here on it is on its own."""
    os.setsid()
    print("listening", flush=True)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)


def main(arguments: list[str]) -> None:
    """``give|take NIC ADDRESS PREFIX-LENGTH``. Exit code 0: ``take`` has it; else it says on stderr why not."""
    action, nic, ip, length = arguments
    link = Link(nic, ip)
    if action == "give":
        detach()
        give(link, int(length))
    elif failure := take(link, int(length)):
        sys.exit(f"{ip}: {failure}")


if __name__ == "__main__":
    main(sys.argv[1:])

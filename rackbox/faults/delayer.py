"""Lets the packets of a netfilter queue go after a while. Runs inside a machine: ``delayer.py QUEUE MILLISECONDS``.

Speaks nfnetlink_queue (linux/netfilter/nfnetlink_queue.h) on a plain netlink socket, so it needs nothing but Python.
Each packet waits for its own time; none overtakes another. Must import nothing of rackbox.
"""

from __future__ import annotations

import collections
import os
import select
import socket
import struct
import sys
import time

NETLINK_NETFILTER = 12
SUBSYSTEM_QUEUE = 3
PACKET, VERDICT, CONFIG = 0, 1, 2
ACCEPT = 1
REQUEST = 1


def message(kind: int, queue: int, *attributes: tuple[int, bytes]) -> bytes:
    """A netlink message to the queue's subsystem."""
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, queue)
    for number, data in attributes:
        body += struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)
    return struct.pack("=LHHLL", 16 + len(body), SUBSYSTEM_QUEUE << 8 | kind, REQUEST, 0, 0) + body


def packet_ids(data: bytes) -> list[int]:
    """The packets that a read from the socket tells of."""
    found = []
    while len(data) >= 16:
        length, kind = struct.unpack_from("=LH", data)
        if not 16 <= length <= len(data):
            break
        if kind == SUBSYSTEM_QUEUE << 8 | PACKET:
            at = 20
            while at + 4 <= length:
                size, number = struct.unpack_from("=HH", data, at)
                if number == 1:  # NFQA_PACKET_HDR
                    found.append(struct.unpack_from("!L", data, at + 4)[0])
                at += max(4, size + -size % 4)
        data = data[length + -length % 4 :]
    return found


def ready() -> None:
    """Tell systemd that packets may come (sd_notify(3))."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"READY=1", address.replace("@", "\0", 1))


def main(queue: int, seconds: float) -> None:
    """Hold each packet of the queue for that long."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    link.bind((0, 0))
    link.send(message(CONFIG, queue, (1, struct.pack("!BBH", 1, 0, 0))))  # NFQA_CFG_CMD: bind
    link.send(message(CONFIG, queue, (2, struct.pack("!LB", 0, 1))))  # NFQA_CFG_PARAMS: no copy of the packet
    link.send(message(CONFIG, queue, (3, struct.pack("!L", 10_000))))  # NFQA_CFG_QUEUE_MAXLEN
    ready()
    waiting: collections.deque[tuple[float, int]] = collections.deque()
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([link], [], [], patience)[0]:
            due = time.monotonic() + seconds
            waiting.extend((due, number) for number in packet_ids(link.recv(1 << 16)))
        while waiting and waiting[0][0] <= time.monotonic():
            number = waiting.popleft()[1]
            link.send(message(VERDICT, queue, (2, struct.pack("!LL", ACCEPT, number))))  # NFQA_VERDICT_HDR


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) / 1000)

"""The frames by which balancers hand the floating IP over: as RFC 5227 has them, and nothing else is taken for one."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from typing import Any

import pytest

from rackbox.paths import PROJECT

PROGRAM: dict[str, Any] = runpy.run_path(str(PROJECT / "provision/lb/hand_over.py"))
pack: Callable[[bytes, bytes, bytes, bytes], bytes] = PROGRAM["pack"]
read: Callable[[bytes, bytes], tuple[str, bytes]] = PROGRAM["read"]

HOLDER, TAKER, ALL = bytes.fromhex("0211111111aa"), bytes.fromhex("0222222222bb"), b"\xff" * 6
IP, OTHER_IP, NO_IP = bytes([192, 168, 4, 20]), bytes([192, 168, 4, 99]), bytes(4)


def test_a_probe_byte_for_byte() -> None:
    assert pack(ALL, TAKER, NO_IP, IP).hex(" ") == (
        "ff ff ff ff ff ff 02 22 22 22 22 bb 08 06 "  # to all, from the taker, ARP
        "00 01 08 00 06 04 00 01 "  # Ethernet, IPv4, their lengths, a request
        "02 22 22 22 22 bb 00 00 00 00 "
        "00 00 00 00 00 00 c0 a8 04 14"
    )


def reply(mac: bytes, ip: bytes) -> bytes:
    """As a kernel answers a probe."""
    frame = bytearray(pack(TAKER, mac, ip, NO_IP))
    frame[21] = 2
    return bytes(frame)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pack(HOLDER, TAKER, IP, IP), "claims"),
        (pack(TAKER, HOLDER, NO_IP, IP), "asks"),
        (reply(HOLDER, IP), "has"),
        (pack(TAKER, HOLDER, NO_IP, IP) + bytes(18), "asks"),  # filled up to Ethernet's least length
        (pack(ALL, TAKER, OTHER_IP, IP), ""),  # anybody who wants to talk to the address
        (pack(ALL, TAKER, IP, OTHER_IP), ""),  # the holder wants to talk to somebody
        (pack(HOLDER, TAKER, OTHER_IP, OTHER_IP), ""),
        (pack(TAKER, HOLDER, NO_IP, OTHER_IP), ""),
        (reply(HOLDER, OTHER_IP), ""),
        (pack(HOLDER, TAKER, IP, IP)[:-1], ""),
        (b"", ""),
    ],
)
def test_what_a_frame_says(frame: bytes, said: str) -> None:
    assert read(frame, IP)[0] == said
    assert not said or read(frame, IP)[1] == frame[6:12]


@pytest.mark.parametrize("at", [6, 12, 14, 16, 18, 20])
def test_a_frame_that_is_not_ours_says_nothing(at: int) -> None:
    """Its sender is not the one that it names, or it is not ARP for IPv4 on Ethernet, or it asks for something else."""
    frame = bytearray(pack(HOLDER, TAKER, IP, IP))
    frame[at] ^= 0x40
    assert read(bytes(frame), IP)[0] == ""

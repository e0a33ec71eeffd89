"""DNS by hand: bytes as RFC 1035 has them, and the probe's process against a server of a few lines on loopback."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rackbox.probes import ProbeFailed, ProbeSettings
from rackbox.probes.dns import pack_question, unpack_addresses
from rackbox.probes.endpoints import DnsEndpoint
from rackbox.probes.process import ProbeProcess
from rackbox.recorder import load_history
from tests.fakes import FakeLab
from tests.probing import wait_until

NAME = "vip.kube.demo"


def answer(question: bytes, *addresses: str, code: int = 0, flags: int = 0x8580) -> bytes:
    """As dnsmasq answers: the question again, then records whose name points back at it."""
    head = struct.pack("!2s5H", question[:2], flags | code, 1, len(addresses), 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4)
    return head + question[12:] + b"".join(record + socket.inet_aton(address) for address in addresses)


def test_a_question_is_what_the_standard_says() -> None:
    assert pack_question(0x1234, "a.bc") == bytes.fromhex("1234 0100 0001 0000 0000 0000 01 61 02 6263 00 0001 0001")


def test_addresses_are_read() -> None:
    question = pack_question(7, NAME)
    assert unpack_addresses(answer(question, "192.168.4.20")) == ["192.168.4.20"]
    assert unpack_addresses(answer(question, "10.0.0.1", "10.0.0.2")) == ["10.0.0.1", "10.0.0.2"]
    assert unpack_addresses(answer(question)) == []


def test_other_records_are_passed_over() -> None:
    question = pack_question(7, NAME)
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 0, 3) + b"\x01x\x00"
    whole = answer(question, "10.0.0.1")
    head, rest = whole[:12], whole[12:]
    body = rest[: len(question) - 12] + alias + rest[len(question) - 12 :]
    assert unpack_addresses(head[:6] + b"\0\2" + head[8:] + body) == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (answer(pack_question(7, NAME), code=3), "no such name"),
        (answer(pack_question(7, NAME), code=2), "server failure"),
        (answer(pack_question(7, NAME), code=11), "code 11"),
        (answer(pack_question(7, NAME), "10.0.0.1", flags=0x8780), "not a whole"),
        (pack_question(7, NAME), "not a whole"),
        (answer(pack_question(7, NAME), "10.0.0.1")[:-2], "cannot be read"),
        (answer(pack_question(7, NAME), "10.0.0.1")[:20], "cannot be read"),
        (b"\0" * 5, "cannot be read"),
    ],
)
def test_bad_answers_are_failures(message: bytes, words: str) -> None:
    with pytest.raises(ProbeFailed, match=words):
        unpack_addresses(message)


# --- the probe's process


class Server:
    """Answers with ``address``, with an error ``code``, or not at all (``silent``)."""

    def __init__(self) -> None:
        self.address = "192.168.4.20"
        self.code = 0
        self.silent = False
        self.clients: set[int] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(512)
            if not question:
                return
            self.clients.add(client[1])
            if not self.silent:
                self._socket.sendto(b"\xff\xff" + question[2:], client)  # somebody else's: to be passed over
                addresses = () if self.code else (self.address,)
                self._socket.sendto(answer(question, *addresses, code=self.code), client)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.mark.loopback
@pytest.mark.subprocess
def test_lookups_are_made_afresh_and_judged(server: Server, tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    endpoint = DnsEndpoint("127.0.0.1", server.port, NAME, "192.168.4.20")
    settings = ProbeSettings("dns", history, "run", endpoint, interval=0.02, timeout=0.3, max_seconds=30.0)
    process = ProbeProcess(FakeLab(tmp_path), settings, tmp_path / "log")

    def saw(outcome: str, detail: str) -> bool:
        if not history.exists():
            return False
        return any((a.outcome, a.detail) == (outcome, detail) for a in load_history(history).attempts("dns"))

    try:
        wait_until(lambda: saw("ok", ""))
        server.address = "10.6.6.6"
        wait_until(lambda: saw("fail", f"{NAME}: 10.6.6.6"))
        server.code = 3
        wait_until(lambda: saw("fail", "DNS: no such name"))
        server.silent = True
        wait_until(lambda: saw("timeout", ""))
        time.sleep(0.1)
    finally:
        process.wait_for_end()
    assert len(server.clients) >= 4, "each from a port of its own"
    assert load_history(history).events("probe-end")

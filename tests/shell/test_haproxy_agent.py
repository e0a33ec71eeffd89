"""The OCF agent against a server that answers, hangs, is gone, and comes back."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.shell.guest import FakeGuest

pytestmark = pytest.mark.loopback
AGENT = "usr/lib/ocf/resource.d/rackbox/haproxy"
SUCCESS, GENERIC, UNIMPLEMENTED, NOT_RUNNING = 0, 1, 3, 7


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


@contextmanager
def serving(port: int, answer: bytes | None) -> Iterator[None]:
    """A server that gives everybody ``answer``; None: the kernel accepts and nobody answers, as with a hung process."""
    listener = socket.create_server(("127.0.0.1", port), backlog=16)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(answer or b"")

    if answer is not None:
        threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def agent(guest: FakeGuest, action: str, port: int) -> tuple[int, float]:
    started = time.monotonic()
    done = subprocess.run(
        [str(guest.root / AGENT), action],
        env=guest.environment | {"OCF_RESKEY_port": str(port)},
        capture_output=True,
        timeout=20,
        check=False,
    )
    return done.returncode, time.monotonic() - started


@pytest.fixture
def guest(tmp_path: Path) -> FakeGuest:
    return FakeGuest(tmp_path, "lb1")


def set_unit(guest: FakeGuest, state: str) -> None:
    guest.fake("systemctl", f"[[ $1 != show ]] || echo {state}")


def test_well(guest: FakeGuest) -> None:
    set_unit(guest, "active")
    port = free_port()
    with serving(port, b"HTTP/1.0 200 OK\r\n\r\n"):
        code, seconds = agent(guest, "monitor", port)
    assert code == SUCCESS
    assert seconds < 0.4
    assert guest.calls() == []  # no systemctl where none is needed: this runs twice a second


def test_a_hung_process_fails_although_its_unit_is_active(guest: FakeGuest) -> None:
    set_unit(guest, "active")
    port = free_port()
    with serving(port, None):
        code, seconds = agent(guest, "monitor", port)
    assert code == GENERIC
    assert 0.9 < seconds < 3


def test_stopped_on_purpose_is_said_at_once(guest: FakeGuest) -> None:
    set_unit(guest, "inactive")
    code, seconds = agent(guest, "monitor", free_port())
    assert code == NOT_RUNNING
    assert seconds < 0.4


def test_a_short_gap_is_forgiven(guest: FakeGuest) -> None:
    set_unit(guest, "activating")
    port = free_port()
    back = threading.Event()

    def come_back() -> None:
        time.sleep(0.2)
        with serving(port, b"HTTP/1.0 200 OK\r\n\r\n"):
            back.wait(5)

    server = threading.Thread(target=come_back)
    server.start()
    code, _ = agent(guest, "monitor", port)
    back.set()
    server.join()
    assert code == SUCCESS


@pytest.mark.parametrize(("state", "code"), [("activating", GENERIC), ("failed", NOT_RUNNING)])
def test_one_that_does_not_come_back_fails(guest: FakeGuest, state: str, code: int) -> None:
    set_unit(guest, state)
    assert agent(guest, "monitor", free_port())[0] == code


def test_another_answer_is_no_health(guest: FakeGuest) -> None:
    set_unit(guest, "active")
    port = free_port()
    with serving(port, b"HTTP/1.0 503 Service Unavailable\r\n\r\n"):
        assert agent(guest, "monitor", port)[0] == GENERIC


def test_start_waits_for_an_answer_and_stop_stops(guest: FakeGuest) -> None:
    set_unit(guest, "active")
    guest.fake("haproxy", "")
    port = free_port()
    with serving(port, b"HTTP/1.0 200 OK\r\n\r\n"):
        assert agent(guest, "start", port)[0] == SUCCESS
    assert agent(guest, "stop", port)[0] == SUCCESS
    assert guest.changes() == ["systemctl start haproxy.service", "systemctl stop haproxy.service"]


def test_meta_data_is_xml_with_every_action(guest: FakeGuest) -> None:
    done = subprocess.run(
        [str(guest.root / AGENT), "meta-data"], env=guest.environment, capture_output=True, timeout=10, check=True
    )
    actions = {action.get("name") for action in ElementTree.fromstring(done.stdout).iter("action")}
    assert actions == {"start", "stop", "monitor", "meta-data", "validate-all"}
    assert agent(guest, "no-such-action", 1)[0] == UNIMPLEMENTED

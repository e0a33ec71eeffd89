"""The program that watches HAProxy inside a balancer, against a server that answers, is gone, comes back, or hangs."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rackbox.paths import PROJECT
from tests.shell.test_haproxy_agent import free_port

pytestmark = pytest.mark.loopback
PROGRAM = PROJECT / "provision/lb/watch_haproxy.py"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """HAProxy's health frontend: keeps connections open and answers each question, until told to hang or to end."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=16)
        self.answers = True
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while connection.recv(1000):
                if self.answers:
                    connection.sendall(ANSWER)
        except OSError:
            return

    def die(self) -> None:
        """As the kernel does it for a killed process."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.reload()

    def reload(self) -> None:
        """As HAProxy does it: connections without a request end, and somebody listens still."""
        for connection in self.connections:
            with suppress(OSError):  # it had ended before
                connection.shutdown(socket.SHUT_RDWR)


class Watched:
    """The program at work. Its systemctl only notes what it was asked."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.track = directory / "down"
        self.calls = directory / "calls"
        fake = directory / "bin/systemctl"
        fake.parent.mkdir()
        fake.write_text(f'#!/bin/bash\necho "$*" >>{self.calls}\n')
        fake.chmod(0o755)
        argv = [sys.executable, str(PROGRAM), "--port", str(self.port), "--track", str(self.track), *options]
        path = f"{fake.parent}:/usr/bin:/bin"
        self.process = subprocess.Popen(argv, env={"PATH": path}, stdout=subprocess.DEVNULL)

    def says(self, value: str, seconds: float = 10) -> float:
        """Wait until the track file holds ``value``; how long that took."""
        started = time.monotonic()
        while not self.track.exists() or self.track.read_text() != f"{value}\n":
            assert time.monotonic() - started < seconds, f"not {value} within {seconds} s"
            assert self.process.poll() is None
            time.sleep(0.002)
        return time.monotonic() - started

    def asked(self) -> str:
        return self.calls.read_text() if self.calls.exists() else ""


@contextmanager
def watching(directory: Path, *options: str) -> Iterator[Watched]:
    watched = Watched(directory, *options)
    try:
        yield watched
    finally:
        watched.process.kill()
        watched.process.wait(10)


def test_it_says_when_haproxy_serves_and_at_once_when_it_is_gone(tmp_path: Path) -> None:
    with watching(tmp_path, "--every", "100") as watched:
        watched.says("1")  # nobody listens yet
        for _ in range(3):
            server = Server(watched.port)
            watched.says("0")
            server.die()
            assert watched.says("1") < 1  # some milliseconds; this computer may be busy
    assert watched.asked() == ""


def test_a_reload_is_no_end(tmp_path: Path) -> None:
    with watching(tmp_path, "--every", "100") as watched:
        server = Server(watched.port)
        watched.says("0")
        for _ in range(5):
            server.reload()
            time.sleep(0.1)
            assert watched.track.read_text() == "0\n"
        server.die()
        watched.says("1")


def test_a_hung_haproxy_is_killed_once_and_only_after_a_while(tmp_path: Path) -> None:
    with watching(tmp_path, "--every", "50") as watched:
        server = Server(watched.port)
        watched.says("0")
        server.answers = False
        assert watched.says("1") > 0.4
        deadline = time.monotonic() + 10
        while not watched.asked() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.7)  # no second one so soon: the first needs its time
        assert watched.asked() == "kill --kill-whom=all --signal=SIGKILL haproxy.service\n"
        server.answers = True
        server.reload()
        watched.says("0")
        server.die()


def test_without_a_watch_a_hung_haproxy_is_left_alone(tmp_path: Path) -> None:
    with watching(tmp_path, "--every", "0") as watched:
        server = Server(watched.port)
        watched.says("0")
        server.answers = False
        time.sleep(2.5)
        assert watched.track.read_text() == "0\n"
        assert watched.asked() == ""
        server.die()
        watched.says("1")

#!/usr/bin/python3
"""Watches this balancer's HAProxy from inside the machine: notices its end at once, and ends one that hangs.

The entry point is ``main``. Nothing in here moves the floating IP: it tells keepalived, or systemd.

It keeps one connection open to HAProxy's health frontend and asks there every now and then. The kernel closes that
connection the moment HAProxy dies; a hung process leaves it open and says nothing. ``--track FILE`` holds 1 while
HAProxy does not serve and 0 while it does: keepalived's track_file (it cannot track processes itself in a container,
since the kernel tells of processes' ends in the first network namespace only). A hung HAProxy is killed with all its
processes; systemd starts a fresh one, if it may.

``--keepalived``: so is a keepalived that holds the floating IP and hangs. The other balancer takes the address, but
this one's kernel goes on answering for it until keepalived has ended.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import subprocess
import sys
import time

QUESTION = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLICE_MS = 50
# Silence counts only in slices after which this process itself was woken in time: on a computer that is busy, or after
# a pause of the whole machine, lateness says nothing of HAProxy.
LATE_WAKE_MS = 40
PATIENCE_SLICES = 10
ALIVE_MS = 1000  # how often the connection is used where no watch is asked for, so that HAProxy does not close it
FIRST_RETRY_MS, LAST_RETRY_MS = 5, 100
KILL_PAUSE_S = 2.0


class Keepalived:
    """keepalived as the holder: it sends adverts all the time, so the kernel counts how often it has slept."""

    STATE = "/run/rackbox/vrrp-state"  # note-vrrp-state.sh writes it
    PID = "/run/keepalived.pid"
    PATIENCE_S = 1.0
    GAP_S = 0.4  # where looks are farther apart, this process was not woken in time itself

    def __init__(self) -> None:
        self.sleeps = ""
        self.moved_at = self.looked_at = float("-inf")

    def look(self) -> None:
        """Kill it if it is the holder and has not moved for a while."""
        now = time.monotonic()
        try:
            sleeps = self._count_sleeps()
        except (OSError, ValueError, IndexError):
            sleeps = ""  # not running, or just starting
        if not sleeps or sleeps != self.sleeps or now - self.looked_at > self.GAP_S:
            self.sleeps, self.moved_at = sleeps, now
        self.looked_at = now
        if now - self.moved_at > self.PATIENCE_S:
            kill("keepalived.service")
            self.moved_at = now

    def _count_sleeps(self) -> str:
        """A number that grows as the process works, as text; "" where this balancer is not the holder."""
        if _read(self.STATE).strip() != "MASTER":
            return ""
        parent = _read(self.PID).strip()
        child = _read(f"/proc/{parent}/task/{parent}/children").split()[0]  # the parent itself only waits
        return child + _read(f"/proc/{child}/status").split("voluntary_ctxt_switches:")[1].split()[0]


class Watch:
    """One HAProxy. ``every_ms`` 0: its end is noticed, but a hung one is left alone."""

    def __init__(self, port: int, every_ms: int, track: str | None, keepalived: Keepalived | None) -> None:
        self.port = port
        self.every_ms = every_ms
        self.track = track
        self.keepalived = keepalived
        self.serves: bool | None = None
        self.killed_at = float("-inf")

    def run(self) -> None:
        retry = FIRST_RETRY_MS
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=1)
            except OSError:
                self.say(serves=False, why="nobody listens")
                self.look_beside()
                time.sleep(retry / 1000)
                retry = min(2 * retry, LAST_RETRY_MS)
                continue
            retry = FIRST_RETRY_MS
            with connection:
                self.talk(connection)

    def talk(self, connection: socket.socket) -> None:
        """Ask until the connection ends. A closed one may mean a reload: whether somebody listens still shows next."""
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        try:
            while True:
                connection.sendall(QUESTION)
                if not self.answered(poller):
                    self.say(serves=False, why=f"no answer for {PATIENCE_SLICES * SLICE_MS} ms")
                    self.kill()
                    return
                if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                    return
                self.say(serves=True, why="answers")
                self.look_beside()
                if poller.poll(self.every_ms or ALIVE_MS):
                    return  # nobody asked anything: it is the end of the connection
        except OSError:
            return

    def answered(self, poller: select.poll) -> bool:
        """Whether an answer, or the connection's end, came before patience was over."""
        silent = 0
        while silent < PATIENCE_SLICES:
            before = time.monotonic()
            if poller.poll(SLICE_MS):
                return True
            on_time = (time.monotonic() - before) * 1000 < SLICE_MS + LATE_WAKE_MS
            silent += on_time and self.every_ms > 0
        return False

    def look_beside(self) -> None:
        if self.keepalived:
            self.keepalived.look()

    def kill(self) -> None:
        if time.monotonic() - self.killed_at < KILL_PAUSE_S:
            time.sleep(KILL_PAUSE_S)
            return
        self.killed_at = time.monotonic()
        kill("haproxy.service")

    def say(self, *, serves: bool, why: str) -> None:
        if serves == self.serves:
            return
        self.serves = serves
        if self.track:
            # In place and not truncated first: whoever reads meanwhile finds the old value or the new one.
            descriptor = os.open(self.track, os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(descriptor, b"0\n" if serves else b"1\n")
            os.close(descriptor)
        print(f"HAProxy {'serves' if serves else 'does not serve'}: {why}", flush=True)


def kill(unit: str) -> None:
    print(f"{unit} hangs: killing it", flush=True)
    argv = ["systemctl", "kill", "--kill-whom=all", "--signal=SIGKILL", unit]
    subprocess.run(argv, check=False, timeout=10)  # noqa: S603 - nothing of it comes from outside


def _read(path: str) -> str:
    with open(path) as stream:
        return stream.read()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="HAProxy's health frontend on 127.0.0.1")
    parser.add_argument("--every", type=int, default=0, metavar="MS", help="between looks; 0: do not look for a hang")
    parser.add_argument("--track", metavar="FILE", help="keepalived's track_file")
    parser.add_argument("--keepalived", action="store_true", help="look after keepalived, too")
    options = parser.parse_args(arguments)
    Watch(options.port, options.every, options.track, Keepalived() if options.keepalived else None).run()


if __name__ == "__main__":
    main(sys.argv[1:])

#!/usr/bin/python3
"""Watches this balancer's HAProxy from inside the machine: notices its end at once, and ends one that hangs.

It keeps one connection open to HAProxy's health frontend and asks there every now and then. The kernel closes that
connection the moment HAProxy dies; a hung process leaves it open and says nothing. ``--track FILE`` holds 1 while
HAProxy does not serve and 0 while it does: keepalived's track_file (it cannot track processes itself in a container,
since the kernel tells of processes' ends in the first network namespace only). A hung HAProxy is killed with all its
processes; systemd starts a fresh one, if it may.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import subprocess
import sys
import time

UNIT = "haproxy.service"
QUESTION = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLICE_MS = 50
# Silence counts only in slices after which this process itself was woken in time: on a computer that is busy, or after
# a pause of the whole machine, lateness says nothing of HAProxy.
LATE_WAKE_MS = 40
PATIENCE_SLICES = 10
ALIVE_MS = 1000  # how often the connection is used where no watch is asked for, so that HAProxy does not close it
FIRST_RETRY_MS, LAST_RETRY_MS = 5, 100
KILL_PAUSE_S = 2.0


class Watch:
    """One HAProxy. ``every_ms`` 0: its end is noticed, but a hung one is left alone."""

    def __init__(self, port: int, every_ms: int, track: str | None) -> None:
        self.port = port
        self.every_ms = every_ms
        self.track = track
        self.serves: bool | None = None
        self.killed_at = float("-inf")

    def run(self) -> None:
        retry = FIRST_RETRY_MS
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=1)
            except OSError:
                self.say(serves=False, why="nobody listens")
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

    def kill(self) -> None:
        if time.monotonic() - self.killed_at < KILL_PAUSE_S:
            time.sleep(KILL_PAUSE_S)
            return
        self.killed_at = time.monotonic()
        print(f"{UNIT} hangs: killing it", flush=True)
        argv = ["systemctl", "kill", "--kill-whom=all", "--signal=SIGKILL", UNIT]
        subprocess.run(argv, check=False, timeout=10)  # noqa: S603 - nothing of it comes from outside

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


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="HAProxy's health frontend on 127.0.0.1")
    parser.add_argument("--every", type=int, default=0, metavar="MS", help="between looks; 0: do not look for a hang")
    parser.add_argument("--track", metavar="FILE", help="keepalived's track_file")
    options = parser.parse_args(arguments)
    Watch(options.port, options.every, options.track).run()


if __name__ == "__main__":
    main(sys.argv[1:])

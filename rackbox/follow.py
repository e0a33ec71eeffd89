"""Follows one machine while it provisions itself, from its own progress log, over SSH. Entry point:
``follow_provisioning``."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from typing import Any

from rackbox.errors import WaitTimeout
from rackbox.lab import LiveLab, machine_error
from rackbox.progress import DONE, FAILED, RUNNING, MachineBoard
from rackbox.topology import Node

PROGRESS = "/run/rackbox/progress.jsonl"
RETRY_S = 0.3


def follow_provisioning(lab: LiveLab, node: Node, board: MachineBoard, stop: threading.Event, timeout: float) -> None:
    """Return when the machine says it is done; raise ``MachineError`` with hook and last lines when it says it failed.

    ``stop`` ends the wait from outside (another machine failed, Ctrl-C). A machine that does not answer yet, or whose
    connection breaks, is asked again until ``timeout`` seconds have passed; one that ran and does no more is an error
    at once.
    """
    deadline = time.monotonic() + timeout
    last = "no answer by SSH yet"
    ran = False
    while not stop.is_set():
        if time.monotonic() > deadline:
            board.update(node.name, FAILED, f"timed out: {last}")
            error = machine_error(lab, node, f"not provisioned within {timeout:g} s; last seen: {last}", [])
            raise WaitTimeout(error.message, error.hint)
        if not lab.connections.open(node.name):
            ran_before, ran = ran, lab.machine(node.name).is_running()
            if ran_before and not ran:
                board.update(node.name, FAILED, f"stopped: {last}")
                raise machine_error(lab, node, f"stopped before it was provisioned; last seen: {last}", [])
            stop.wait(RETRY_S)
            continue
        ran = True
        process = lab.connections.follow(node.name, ["sudo", "tail", "-n", "+1", "-F", "--quiet", PROGRESS])
        try:
            for event in _read_events(process, stop, deadline):
                last = f"{event['event']} {event['hook']}".strip()
                if _is_end(lab, node, board, event):
                    return
        finally:
            _end(process)
        # The stream broke: the machine went away or restarts.
        lab.connections.close(node.name)
        last = f"connection lost after: {last.removeprefix('connection lost after: ')}"
        stop.wait(RETRY_S)


def _is_end(lab: LiveLab, node: Node, board: MachineBoard, event: dict[str, Any]) -> bool:
    match event["event"]:
        case "start":
            board.update(node.name, RUNNING, event["hook"])
        case "done":
            board.update(node.name, DONE, f"provisioned itself in {event['seconds']:.1f} s")
            return True
        case "failed":
            board.update(node.name, FAILED, f"failed in {event['hook']}")
            raise machine_error(lab, node, f"hook {event['hook']} failed", event["tail"])
    return False


def _read_events(process: subprocess.Popen[str], stop: threading.Event, deadline: float) -> Any:
    """The JSON lines of a stream as they come, until it ends, ``stop`` is set or the deadline has passed."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        buffer = b""
        descriptor = process.stdout.fileno()
        while not stop.is_set() and time.monotonic() < deadline:
            if not selector.select(0.2):
                continue
            data = os.read(descriptor, 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()

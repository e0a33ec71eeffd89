"""Which journal lines are a cluster noticing a fault, and which lines are worth keeping. Pure.

``NOTICES`` is the table: unit → patterns, in the words of the versions in the box (Corosync 3.1, Pacemaker 3.0,
keepalived 2.3, HAProxy 3.0, etcd 3.5, systemd 257). Entry points: ``read_journal``, ``choose_lines``.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

MAX_LINES = 150
MAX_CHARACTERS = 400

UNITS = frozenset(
    {
        "haproxy",
        "corosync",
        "corosync-qdevice",
        "corosync-qnetd",
        "pacemaker",
        "keepalived",
        "etcd",
        "docker",
        "cri-docker",
        "dnsmasq",
        "glusterd",
        "kernel",
    }
)
"""Whose lines are kept, besides the ``rackbox-…`` units."""

NOTICES: Mapping[str, tuple[str, ...]] = {
    "corosync": (
        r"Token has not been received",  # three quarters of the token time-out have passed
        r"A processor failed, forming new configuration",  # all of it
        r"link: host: \d+ link: \d+ is down",  # knet's own pings
        r"Members left",
    ),
    "corosync-qdevice": (
        r"didn't send echo reply",
        r"(?:Connection to|Can't connect to) qnetd",
        r"has been disconnected|Connect timeout",
    ),
    "corosync-qnetd": (
        r"doesn't sent? any message during",  # qnetd's own words
        r"disconnect(?:ed|ing)",
    ),
    "pacemaker": (
        r"state is now lost",
        r"Our DC node .* left the cluster",
        r"Result of monitor operation for \S+ on \S+: (?!OK)",  # a probe's "Not running" before a start is none
        r"(?:Timed out|timed out|Timeout).*monitor",
        r"(?:Requesting|Scheduled|requesting) (?:peer )?fencing|will be fenced|Cluster node \S+ is unclean",
        r"exited with status|terminated with signal|was terminated by signal|respawn",
    ),
    "keepalived": (
        r"Entering (?:MASTER|FAULT|BACKUP) STATE",
        r"(?:quorum lost|now FAULT|not running).*(?:process|track)|tracked process",
        r"(?:Script|script).* (?:now returning [1-9]|failed|timed out)",
        r"received (?:lower|higher) prio|Backup received priority 0",
    ),
    "haproxy": (
        r"Server \S+ is DOWN",
        r"has no server available",
    ),
    "etcd": (
        r"lost (?:the )?(?:leader|TCP streaming connection)",
        r"starting a new election|became (?:pre-)?candidate",
        r"peer became inactive|prober detected unhealthy status",
    ),
    "glusterd": (r"has disconnected from glusterd",),
    "kernel": (r"Link is Down|link is not ready",),
    "systemd": (
        r"Main process exited",
        r"Failed with result",
        r"Watchdog timeout",
    ),
    "rackbox": (r"\b(?:hung|fenc(?:ed|ing)|no answer|does not answer)\b",),
}

_COMPILED = {unit: re.compile("|".join(patterns)) for unit, patterns in NOTICES.items()}
_FENCED = re.compile(r"(?P<stamp>\S+) \S+: POST /v1/(?P<machine>[\w.-]+)/(?:off|reboot): 200 ")
_HAPROXY_HEAD = re.compile(r"^\[[A-Z]+\]\s+\(\d+\) : ")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a journal. ``wall`` is the guest's, seconds since 1970; ``priority`` syslog's (3 = error)."""

    wall: float
    unit: str
    message: str
    priority: int
    noticed: bool


def read_journal(text: str) -> list[Line]:
    """The lines of ``journalctl --output=json`` that come from units worth reading, each told once."""
    found: list[Line] = []
    for row in text.splitlines():
        try:
            entry = json.loads(row)
        except ValueError:
            continue  # journalctl was cut off, or said something on the way
        if isinstance(entry, dict) and (line := _read_entry(entry)):
            found.append(line)
    return list(_told_once(found))


def choose_lines(lines: Sequence[Line], most: int = MAX_LINES) -> list[Line]:
    """The ``most`` telling ones, in order of time: what was noticed, then errors, warnings, systemd's words, the rest;
    of equals the earlier."""
    ranked = sorted(range(len(lines)), key=lambda index: (_rank(lines[index]), lines[index].wall))
    return [lines[index] for index in sorted(ranked[:most], key=lambda index: (lines[index].wall, index))]


def is_notice(unit: str, teller: str, message: str) -> bool:
    """Whether ``message`` is the cluster noticing a fault. ``teller`` said it of ``unit`` (systemd of haproxy)."""
    if teller == "systemd":
        pattern = _COMPILED["systemd"]
    else:
        pattern = _COMPILED.get("rackbox" if unit.startswith("rackbox") else unit, re.compile(r"(?!)"))
    return pattern.search(message) is not None


def read_fencing(text: str) -> list[tuple[float, str]]:
    """When (seconds since 1970) which machine was off, from the log of the lab's power switch (``rackbox.fence``)."""
    found: list[tuple[float, str]] = []
    for row in text.splitlines():
        match = _FENCED.match(row)
        if match:
            with contextlib.suppress(ValueError):
                found.append((datetime.fromisoformat(match["stamp"]).timestamp(), match["machine"]))
    return found


def _read_entry(entry: Mapping[str, object]) -> Line | None:
    message = entry.get("MESSAGE")
    if isinstance(message, list):  # bytes that are not UTF-8
        message = bytes(part for part in message if isinstance(part, int) and 0 <= part < 256).decode(errors="replace")
    if not isinstance(message, str) or not message.strip():
        return None
    about = str(entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "").removesuffix(".service")
    teller = str(entry.get("SYSLOG_IDENTIFIER") or about)
    unit = "kernel" if entry.get("_TRANSPORT") == "kernel" else about
    if unit not in UNITS and not unit.startswith("rackbox"):
        return None
    stamp = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry.get("__REALTIME_TIMESTAMP")
    try:
        wall = int(str(stamp)) / 1e6
        priority = int(str(entry.get("PRIORITY", 6)))
    except ValueError:
        return None
    message = _plain_words(message)
    shown = " ".join(_HAPROXY_HEAD.sub("", message.strip()).split())[:MAX_CHARACTERS]
    return Line(wall, teller if teller == "systemd" else unit, shown, priority, is_notice(unit, teller, shown))


def _plain_words(message: str) -> str:
    """etcd's lines are JSON objects: its words, then what it says beside them, without where in its source it was."""
    if not message.startswith("{"):
        return message
    try:
        told = json.loads(message)
    except ValueError:
        return message
    if not isinstance(told, dict) or "msg" not in told:
        return message
    beside = [f"{key}={value}" for key, value in told.items() if key not in ("level", "ts", "caller", "msg", "logger")]
    return f"{told.get('level', 'info')}: {told['msg']}{'; ' if beside else ''}{', '.join(beside)}"


def _told_once(lines: Iterable[Line]) -> Iterable[Line]:
    """HAProxy says the same to syslog and to its standard error."""
    seen: set[tuple[str, str, int]] = set()
    for line in lines:
        key = (line.unit, line.message.rstrip(".").replace("'", ""), round(line.wall * 10))
        if key not in seen:
            seen.add(key)
            yield line


def _rank(line: Line) -> int:
    if line.noticed:
        return 0
    return 1 if line.priority <= 3 else 2 if line.priority == 4 or line.unit == "systemd" else 3

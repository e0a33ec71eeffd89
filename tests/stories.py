"""Histories written by hand, with all that a run can hold: probes, watchers, ARP, power, log lines."""

from __future__ import annotations

from collections.abc import Sequence

from rackbox.history import Attempt, History, JsonValue, Outcome, Record, attempt_record

INJECTED = 100.0
WALL = 1_790_000_000.0
MACS = {"lb1": "02:00:00:00:00:01", "lb2": "02:00:00:00:00:02"}


def record(t: float, event: str, source: str = "test", **fields: JsonValue) -> Record:
    return Record(t, WALL + t, source, event, fields)


def address(t: float, machine: str, held: bool, delay: float = 0.0) -> Record:
    """A watcher's word: it was so at ``t`` in the guest, and heard of ``delay`` later."""
    return record(t + delay, "address", f"watch:{machine}", held=held, wall_guest=WALL + t)


def line(t: float, machine: str, unit: str, message: str, noticed: bool = False) -> Record:
    fields: dict[str, JsonValue] = {"wall_guest": WALL + t, "t_guest": t, "unit": unit, "message": message}
    return record(106.5, "line", f"log:{machine}", **fields, noticed=noticed, clock_error_ms=1.0)


def arp(t: float, seq: int, macs: Sequence[str]) -> Record:
    outcome: Outcome = "ok" if macs else "timeout"
    attempt = Attempt("floating-ip-arp", seq, t, t, t + 0.002, outcome, " ".join(sorted(macs)))
    return attempt_record(attempt, WALL + t)


def attempts(probe: str, begin: float, end: float, drop: tuple[float, float], interval: float = 0.02) -> list[Record]:
    found = []
    for seq in range(int((end - begin) / interval)):
        start = begin + seq * interval
        fails = drop[0] <= start < drop[1]
        slow = drop[1] <= start < drop[1] + 0.06
        took = 0.05 if fails else 0.12 if slow else 0.004
        attempt = Attempt(probe, seq, start, start, start + took, "fail" if fails else "ok", "reset" if fails else "")
        found.append(attempt_record(attempt, WALL + start))
    return found


HEADER: dict[str, JsonValue] = {
    "schema": 1,
    "lab": "demo",
    "provider": "lxc",
    "scenario": "holder-powered-off",
    "fault": "powered-off",
    "target": "vip-holder",
    "probes": ["etcd-read", "etcd-write", "floating-ip-arp"],
    "judged": "etcd-read",
    "budget_ms": 700,
    "limits": {"moves": 1},
    "expects_bite": True,
    "one_holder": True,
    "watchers": ["lb1", "lb2"],
    "macs": MACS,
    "ha": "pacemaker",
    "profile": "default",
    "fencing": True,
    "third_vote": True,
    "machines": 4,
    "probe_interval_ms": 20,
    "probe_timeout_ms": 900,
    "software": {"rackbox": "0.2.0"},
    "cpus": 2,
    "facts": {"box": "20260101.1", "kernel": "6.1", "cgroups": "v2"},
}


def _log(took: float) -> tuple[Record, ...]:
    """What the machines say of it."""
    return (
        line(INJECTED + 0.19, "lb2", "corosync", "[TOTEM ] Token has not been received in 187 ms", True),
        line(INJECTED + 0.25, "lb2", "corosync", "[TOTEM ] A processor failed, forming new configuration", True),
        line(INJECTED + 0.31, "lb2", "pacemaker", "notice: Node lb1 state is now lost", True),
        line(INJECTED + 0.33, "lb2", "pacemaker", "notice: Requesting fencing (reboot) of node <lb1> & co", True),
        line(took, "lb2", "pacemaker", "notice: Result of start operation for floating-ip on lb2: OK"),
        line(INJECTED + 0.3, "gateway", "corosync-qnetd", "Client lb1 disconnected", True),
    )


def full_story(
    outage: float = 0.4, split: float = 0.0, number: int = 1, group: str = "20260101T120000", **header: JsonValue
) -> History:
    """lb1 loses its power; lb2 notices after 0.25 s and serves after ``outage``. With ``split`` seconds in which lb1
    holds the address all the same (its power goes that much later)."""
    first: dict[str, JsonValue] = {**HEADER, "number": number, "group": group, **header}
    took = INJECTED + 0.9 * outage
    gone = took + split if split else INJECTED + 0.1
    return History(
        (
            Record(97.0, WALL + 97.0, "test", "header", first),
            *_before(),
            *_attempts(outage, took, gone if split else INJECTED),  # a machine's links are cut at once
            *_fault(took, gone, "fence" if split else "fault"),
            *_after(),
            *_log(took),
            record(106.9, "run-end"),
        )
    )


def _before() -> tuple[Record, ...]:
    return (
        record(97.5, "holders", phase="before", holders=["lb1"]),
        record(98.0, "probe-start", "probe:etcd-read", interval_ms=20.0, timeout_ms=900, audits=False),
        record(98.0, "probe-start", "probe:etcd-write", interval_ms=100.0, timeout_ms=900, audits=True),
        record(98.0, "probe-start", "probe:floating-ip-arp", interval_ms=50.0, timeout_ms=50, audits=False),
        address(98.1, "lb1", True, 0.002),
        address(98.1, "lb2", False, 0.002),
        record(98.2, "neighbour", "probe:floating-ip-arp", mac=MACS["lb1"]),
    )


def _attempts(outage: float, took: float, ends: float) -> list[Record]:
    """What the probes saw, with lb1 answering for the address until ``ends`` and lb2 from ``took`` on."""
    begin, end = 98.0, 106.0
    drop = (INJECTED + 0.01, INJECTED + outage)
    moments = [begin + 0.05 * n for n in range(160)]
    answering = [arp(t, n, [MACS["lb1"]] * (t < ends) + [MACS["lb2"]] * (t >= took)) for n, t in enumerate(moments)]
    return [*attempts("etcd-read", begin, end, drop), *attempts("etcd-write", begin, end, drop, 0.1), *answering]


def _fault(took: float, gone: float, killer: str) -> tuple[Record, ...]:
    return (
        record(99.9, "target", "fault", target="vip-holder", machines=["lb1"]),
        record(INJECTED, "inject-start", "fault", fault="powered-off"),
        record(gone, "power", killer, machine="lb1", on=False),
        record(INJECTED + 0.12, "inject-end", "fault", fault="powered-off"),
        record(INJECTED + 0.13, "bite", "fault", bitten=True, detail="before: on, after: off"),
        record(INJECTED + 0.2, "watch-lost", "watch:lb1", reason="the connection ended (255)"),
        address(took, "lb2", True, 0.002),
        record(took + 0.01, "arp-announce", "probe:floating-ip-arp", mac=MACS["lb2"]),
        record(took + 0.02, "neighbour", "probe:floating-ip-arp", mac=MACS["lb2"]),
    )


def _after() -> tuple[Record, ...]:
    return (
        record(103.4, "good-again"),
        record(103.5, "holders", phase="recovered", holders=["lb2"]),
        record(103.6, "heal-start", "fault"),
        record(103.7, "power", "fault", machine="lb1", on=True),
        record(103.7, "heal-end", "fault"),
        address(104.5, "lb1", False, 0.002),
        record(105.2, "redundant"),
        record(105.2, "healthy-again"),
        record(105.3, "holders", phase="healed", holders=["lb2"]),
        record(105.4, "audit", phase="healed", problems=[]),
        record(106.0, "probe-audit", "probe:etcd-write", acknowledged=76, stored=76, lost=[], twice=[]),
        record(106.1, "probe-end", "probe:etcd-read"),
    )

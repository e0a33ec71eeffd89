"""Fetches the machines' journals after a run and puts their most telling lines into its history.

Entry point: ``collect_logs``. All machines are asked at the same time, each for a few seconds at most; a machine that
does not answer is noted, and nothing here ever fails a run. The whole excerpt of each machine is kept beside the
history as ``journal-<machine>.log``. The journals are on disk in the box (``/var/log/journal``), so that what a machine
wrote before its power was pulled is still there.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rackbox.errors import LabError
from rackbox.history import Record
from rackbox.machine import Lab
from rackbox.measures import LOG_SOURCE
from rackbox.noticing import Line, choose_lines, read_fencing, read_journal
from rackbox.recorder import Recorder

JOURNAL_TIMEOUT = 10.0
LEAD_SECONDS = 2.0
MAX_ENTRIES = 4000
FENCE_LOG = "fence.log"
KERNEL_STAT = Path("/proc/stat")
_FIELDS = "MESSAGE,UNIT,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,PRIORITY,_TRANSPORT,_SOURCE_REALTIME_TIMESTAMP"
_SCRIPT = """\
grep '^btime ' /proc/stat
date +%s.%N
exec journalctl --quiet --no-pager --output=json --output-fields={fields} --since=@{since:.0f} --lines={most}
"""


@dataclass(frozen=True, slots=True)
class _Clock:
    """How a guest's wall clock stands to this computer's clocks. ``offset``: guest's wall - our monotonic, seconds;
    ``error``: its ±."""

    offset: float
    error: float


def collect_logs(lab: Lab, history: Path, run_dir: Path, since_wall: float) -> int:
    """Write every machine's telling lines since shortly before ``since_wall`` (the injection, seconds since 1970) into
    ``history``, and their excerpts into ``run_dir``. Returns how many lines were written."""
    names = [node.name for node in lab.topology.nodes]
    _collect_fencing(lab, history, since_wall)
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(names)))) as pool:
        return sum(pool.map(lambda name: _collect(lab, name, history, run_dir, since_wall - LEAD_SECONDS), names))


def _collect(lab: Lab, name: str, history: Path, run_dir: Path, since: float) -> int:
    try:
        with Recorder(history, LOG_SOURCE + name) as recorder:
            try:
                clock, lines = _ask(lab, name, since)
            except (LabError, ValueError, OSError) as error:
                recorder.write("log-lost", message=str(error).splitlines()[0] if str(error) else type(error).__name__)
                return 0
            chosen = choose_lines(lines)
            for line in chosen:
                recorder.write(
                    "line",
                    wall_guest=round(line.wall, 6),
                    t_guest=round(line.wall - clock.offset, 6),
                    clock_error_ms=round(clock.error * 1000, 3),
                    unit=line.unit,
                    message=line.message,
                    noticed=line.noticed,
                )
        _keep(run_dir / f"journal-{name}.log", lines)
    except (LabError, OSError):  # no room: the history says so when its own lines no longer fit
        return 0
    return len(chosen)


def _collect_fencing(lab: Lab, history: Path, since: float) -> None:
    """What the lab's power switch did for its cluster, as ``power`` events of source ``fence``: a machine that was
    fenced holds nothing any more, though it had no time to say so."""
    try:
        text = (lab.paths.logs / FENCE_LOG).read_text(encoding="utf-8", errors="replace")
        acts = [(wall, name) for wall, name in read_fencing(text) if wall >= since]
        with Recorder(history, "fence") as recorder:
            ahead = time.time() - time.monotonic()
            for wall, name in acts:
                recorder.append(Record(wall - ahead, wall, "fence", "power", {"machine": name, "on": False}))
    except (LabError, OSError):  # no log: no fencing in this lab
        return


def _ask(lab: Lab, name: str, since: float) -> tuple[_Clock, list[Line]]:
    """The journal, and how the guest's clock stands to ours. Raises ``ValueError`` when the answer is none."""
    before, wall, mono = time.monotonic(), time.time(), time.monotonic()
    script = _SCRIPT.format(fields=_FIELDS, since=since, most=MAX_ENTRIES)
    result = lab.machine(name).run(script, timeout=JOURNAL_TIMEOUT, check=False)
    took = time.monotonic() - before
    booted, _, rest = result.stdout.partition("\n")
    told, _, journal = rest.partition("\n")
    if booted.strip() == _own_boot():  # a container: our kernel, our clock
        return _Clock(wall - mono, 0.001), read_journal(journal)
    # The guest looked at its clock at some moment while we waited for the answer.
    return _Clock(float(told) - (before + took / 2), took / 2), read_journal(journal)


def _own_boot() -> str:
    """When this computer's kernel was booted: a machine that says the same runs on it. (LXC hides the boot's ID.)"""
    try:
        lines = KERNEL_STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("btime ")), "none")


def _keep(path: Path, lines: list[Line]) -> None:
    """The excerpt as text, a ``*`` before what was noticed."""
    stamps = [f"{datetime.fromtimestamp(line.wall, UTC):%H:%M:%S.%f}" for line in lines]
    rows = [
        f"{stamp} {'*' if line.noticed else ' '} {line.unit}: {line.message}\n"
        for stamp, line in zip(stamps, lines, strict=True)
    ]
    path.write_text("".join(rows), encoding="utf-8")

"""Runs one probe in a process of its own: ``python -m rackbox.probes.runner --probe NAME --history FILE …``.

Attempts start on a fixed schedule and are never waited for (open loop). It ends on SIGTERM, on SIGINT, when its
standard input is closed (so it cannot outlive whoever started it) or after ``--max-seconds``: then it waits for the
attempts under way, audits, and says what it cost. Exit 0; 1 when the probe itself broke down; 2 for usage.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rackbox.history import PROBE_SOURCE, Attempt, Outcome
from rackbox.probes import PROBES, Answer, Probe, ProbeFailed, ProbeSettings, parse_settings
from rackbox.recorder import Recorder

_AUDIT_TRY_SECONDS = 4.0
_NICENESS = -10
_MAX_DETAIL = 160


class Runner:
    """One probe, its schedule, and the history it writes to."""

    def __init__(self, settings: ProbeSettings, probe: Probe[Any], recorder: Recorder) -> None:
        self._settings = settings
        self._probe = probe
        self._recorder = recorder
        probe.note = recorder.write
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next = 0.0
        self._made = 0
        self._skipped = 0
        self._latest = 0.0
        self.crashed = False

    async def run(self, scheduling: str) -> None:
        loop = asyncio.get_running_loop()
        self._watch_for_end(loop)
        begun, used, waited = time.monotonic(), _cpu_seconds(), _waited_seconds()
        self._recorder.write(
            "probe-start",
            interval_ms=self._settings.interval * 1000,
            timeout_ms=self._settings.timeout * 1000,
            audits=self._probe.audits,
            scheduling=scheduling,
            pid=os.getpid(),
        )
        await self._probe.start()
        self._next = loop.time()
        self._tick()
        await self._stop.wait()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.timeout + 1.0)
        if self._probe.audits and not self.crashed:
            await self._audit()
        await self._probe.stop()
        self._recorder.write(
            "probe-end",
            attempts=self._made,
            skipped=self._skipped,
            latest_ms=round(self._latest * 1000, 3),
            cpu_seconds=round(_cpu_seconds() - used, 3),
            waited_seconds=round(_waited_seconds() - waited, 3),
            seconds=round(time.monotonic() - begun, 3),
        )

    def _watch_for_end(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.call_later(self._settings.max_seconds, self._stop.set)
        try:
            loop.add_reader(sys.stdin.fileno(), self._read_stdin, loop)
        except PermissionError:  # a plain file or /dev/null cannot be waited for: then signals and time end it
            self._recorder.write("probe-note", message="standard input cannot be watched")

    def _read_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            self._stop.set()

    def _tick(self) -> None:
        """Start the attempt that is due. Slots that were slept through are skipped, not crowded into one moment: a gap
        in the history is the truth, a burst would be a load that nobody asked for."""
        if self._stop.is_set():
            return
        loop = asyncio.get_running_loop()
        scheduled, interval = self._next, self._settings.interval
        task = loop.create_task(self._attempt(self._made, scheduled))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        self._made += 1
        self._next += interval
        if (behind := loop.time() - self._next) > 0:
            slots = int(behind / interval) + 1
            self._skipped += slots
            self._next += slots * interval
        loop.call_at(self._next, self._tick)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.crashed:
            self.crashed = True
            self._stop.set()
            self._recorder.write("probe-crash", message=f"{type(error).__name__}: {error}"[:500])

    async def _attempt(self, seq: int, scheduled: float) -> None:
        start = time.monotonic()
        outcome: Outcome = "ok"
        try:
            async with asyncio.timeout_at(start + self._settings.timeout):
                said = await self._probe.attempt(seq)
        except TimeoutError:
            said = self._probe.overdue(seq)
            outcome = "ok" if isinstance(said, Answer) else "timeout"
        except (OSError, EOFError, ProbeFailed) as error:
            outcome, said = "fail", str(error) or type(error).__name__
        detail, end = (said.detail, said.at) if isinstance(said, Answer) else (said, time.monotonic())
        if outcome == "ok" and end - start > self._settings.timeout:
            outcome = "timeout"  # it was answered, but this process was not there in time to see it
        self._latest = max(self._latest, start - scheduled)
        self._recorder.write_attempt(
            Attempt(self._probe.name, seq, scheduled, start, end, outcome, detail[:_MAX_DETAIL])
        )

    async def _audit(self) -> None:
        deadline = time.monotonic() + self._settings.audit_seconds
        while True:
            try:
                async with asyncio.timeout(_AUDIT_TRY_SECONDS):
                    found = await self._probe.audit()
            except (OSError, EOFError, ProbeFailed) as error:
                if time.monotonic() + 0.2 < deadline:
                    await asyncio.sleep(0.2)
                    continue
                self._recorder.write("probe-audit", error=(str(error) or type(error).__name__)[:500])
                return
            self._recorder.write("probe-audit", **found)
            return


def raise_priority() -> str:
    """Ask for a place ahead of the lab's own work, so that a busy computer does not look like a broken lab."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        return "real-time"
    except OSError:
        pass  # no privilege, or the group has no real-time budget (RT_GROUP_SCHED): niceness may still go
    try:
        os.nice(_NICENESS)
        return f"nice {_NICENESS}"
    except OSError:
        return "normal"


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _waited_seconds() -> float:
    """For how long this process was ready to run and had no CPU (nanoseconds in /proc/self/schedstat; 0 without it)."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def main(argv: Sequence[str]) -> int:
    settings = parse_settings(argv)
    if settings.probe not in PROBES:
        print(f"--probe: must be one of {', '.join(sorted(PROBES))}; got {settings.probe}", file=sys.stderr)
        return 2
    scheduling = raise_priority()
    kind = PROBES[settings.probe]
    if not isinstance(settings.endpoint, kind.aims_at):
        aims, given = kind.aims_at.kind, settings.endpoint.kind
        print(f"--endpoint: {settings.probe} is aimed at one of kind {aims}; got {given}", file=sys.stderr)
        return 2
    probe = kind(settings, settings.endpoint)
    gc.freeze()  # what was imported lives for ever: keep it out of every collection's way
    with Recorder(settings.history, PROBE_SOURCE + settings.probe) as recorder:
        runner = Runner(settings, probe, recorder)
        asyncio.run(runner.run(scheduling))
    return 1 if runner.crashed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The scheduled job: `schedule.run`, which the timer or cron starts. Entry point: ``run_job``.

One run at a time; bounded in time (an alarm ends it as Ctrl-C would), in disk (a floor of free space, older boxes
pruned) and in what it leaves (so many logs, so many lines). Every run ends as one line of ``schedule/runs.jsonl``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from rackbox.box import write_whole
from rackbox.consoles import WIDTH
from rackbox.errors import EXIT_FAILED, EXIT_OK, LabBusy, LabError
from rackbox.image import RebuildResult, rebuild
from rackbox.notify import notify
from rackbox.paths import Home
from rackbox.schedule_config import ScheduleConfig
from rackbox.schedule_files import cron_time

SCHEMA = 1
LOGS_KEPT = 20
LINES_KEPT = 500

Rebuild = Callable[..., RebuildResult]


class _TooLong(LabError):
    """The run's time is over. An error like others, so that everything under way is cleaned up."""


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where the schedule of one data directory keeps its things."""

    data: Path

    @property
    def root(self) -> Path:
        return self.data / "schedule"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def runs(self) -> Path:
        return self.root / "runs.jsonl"

    @property
    def stamp(self) -> Path:
        """Its time is when the last run began (or when the schedule was installed): what cron's catching up needs."""
        return self.root / "stamp"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def figures(self) -> Path:
        return self.data / "box-figures.jsonl"


def _prune(home: Home, config: ScheduleConfig, console: Console) -> None:
    from rackbox.prune import prune

    for gone in prune(home, config.os, config.provider, config.keep):
        console.print(f"pruned: {gone.what}, {gone.size >> 20} MiB", markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class World:
    """What a run needs besides its files; tests put in their own."""

    rebuild: Rebuild = rebuild
    prune: Callable[[Home, ScheduleConfig, Console], None] = _prune
    free_mib: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free >> 20
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def run_job(home: Home, config: ScheduleConfig, *, due: bool, jitter: bool, world: World | None = None) -> int:
    """0: nothing had changed, or the new box was promoted; 1 otherwise. ``due``: only if a run was missed. ``jitter``:
    wait a random part of the config's jitter first. Raises ``LabBusy`` when a run is under way."""
    world = world or World()
    files = JobFiles(home.data)
    files.logs.mkdir(parents=True, exist_ok=True)
    with _only_one(files.lock):
        if due and not is_due(files, config, world.now()):
            return EXIT_OK
        if jitter:
            world.sleep(random.uniform(0, config.jitter / 1000))  # noqa: S311 - spreads load, guards nothing
        files.stamp.touch()
        begun, started = world.now(), time.monotonic()
        log = files.logs / f"{begun:%Y%m%dT%H%M%SZ}.log"
        with log.open("a", encoding="utf-8") as stream:
            console = Console(file=stream, highlight=False, width=WIDTH, force_terminal=False, no_color=True)
            report = _report(home, config, console, world)
            report = {
                "schema": SCHEMA,
                "started": begun.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - started, 1),
                "os": config.os,
                "provider": config.provider,
                **report,
                "log": str(log),
            }
            told = notify(config.notify, report, lambda text: console.print(text, soft_wrap=True))
            report["notified"] = told
        if report["figures"]:
            append_line(files.figures, figures_line(report))
        append_line(files.runs, report)
        _bound(files)
    return EXIT_OK if report["result"] in ("built", "unchanged") else EXIT_FAILED


def is_due(files: JobFiles, config: ScheduleConfig, now: datetime) -> bool:
    """Whether a time of the schedule has passed since the last run began."""
    from rackbox.schedule_files import Job

    name = Job(Path(), files.data, Path()).name
    local = now.astimezone()
    last = datetime.fromtimestamp(files.stamp.stat().st_mtime).astimezone() if files.stamp.exists() else None
    meant = cron_time(config.when, name).previous(local)
    return meant is not None and (last is None or last < meant)


def figures_line(report: Mapping[str, Any]) -> dict[str, Any]:
    """A line of ``box-figures.jsonl``: what the gate measured of one version, by name."""
    return {
        "schema": SCHEMA,
        "time": report["started"],
        **{key: report[key] for key in ("os", "provider", "version", "figures")},
    }


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole JSON lines of a file; one that a crash cut off is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            if isinstance(data := json.loads(line), dict):
                found.append(data)
    return found


def append_line(path: Path, data: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(data) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _report(home: Home, config: ScheduleConfig, console: Console, world: World) -> dict[str, Any]:
    """What came of it: ``result`` is built, unchanged, refused (by the gate) or failed."""
    report: dict[str, Any] = {"result": "failed", "version": "", "changes": [], "figures": {}, "message": ""}
    try:
        with _alarm(config.limit / 1000):
            _make_room(home, config, console, world)
            result = world.rebuild(home, config.os, config.provider, console, if_changed=True, gate=True)
            report |= {
                "result": "unchanged" if not result.changed else "built" if result.promoted else "refused",
                "version": result.version,
                "changes": list(result.changes),
                "figures": dict(result.figures),
                "message": "" if result.promoted or not result.changed else f"the gate refused it; see {result.log}",
            }
            world.prune(home, config, console)
    except LabError as error:
        report["message"] = error.message
        console.print(f"{error.message}\n{error.hint}", markup=False, soft_wrap=True)
    except Exception as error:  # noqa: BLE001 - nobody sits before a scheduled run: a bug must be told, too
        report["message"] = f"{type(error).__name__}: {error}"
        console.print(traceback.format_exc(), markup=False, soft_wrap=True)
    return report


def _make_room(home: Home, config: ScheduleConfig, console: Console, world: World) -> None:
    home.boxes.mkdir(parents=True, exist_ok=True)
    world.prune(home, config, console)
    free = world.free_mib(home.boxes)
    if free < config.free:
        raise LabError(
            f"{home.boxes}: must have {config.free} MiB free for a run; has {free} MiB",
            "make room, keep fewer versions (`keep`) or lower `free` in schedule.yaml",
        )


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabBusy("a scheduled run is under way", "wait for it to end; `./lab schedule.status`") from None
        yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise in the main thread once the time is over; elsewhere the unit's own limit is all there is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TooLong(f"no end after {seconds:g} s: ended", "give it longer: `limit` in schedule.yaml")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _bound(files: JobFiles) -> None:
    for old in sorted(files.logs.glob("*.log"))[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)
    lines = files.runs.read_text(encoding="utf-8").splitlines(keepends=True)
    if len(lines) > LINES_KEPT:
        write_whole(files.runs, "".join(lines[-LINES_KEPT:]))

"""Boxes that renew themselves: puts the job on this computer's clock, says how it goes, takes it away.

Entry points: ``install``, ``show_status``, ``remove``, ``run_now``, one for each task ``schedule.*``. The clock is
systemd's where systemd runs (system units for root, else the user's), the user's crontab where it does not.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from rackbox.box import write_whole
from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, CommandFailed, LabError, MissingTool
from rackbox.image import check_request
from rackbox.paths import PROJECT, Home
from rackbox.run import run
from rackbox.schedule_config import (
    PRESETS,
    ScheduleConfig,
    change_schedule,
    load_schedule,
    schedule_file,
    write_schedule,
)
from rackbox.schedule_files import TEMPLATES, Job, cron_time, render_crontab, render_units, without_block
from rackbox.schedule_run import JobFiles, read_lines, run_job
from rackbox.show import write_json
from rackbox.tools import find_user_home

RUNS_SHOWN = 5
_TIMEOUT = 20.0
_NOT_INSTALLED = "install one with `./lab schedule.install --when weekly`"


class Clock(Protocol):
    """What starts the job."""

    @property
    def name(self) -> str: ...

    def check(self, when: str) -> None:
        """Raise ``LabError`` for a time that it does not understand."""
        ...

    def install(self, job: Job, config: ScheduleConfig) -> list[str]:
        """Replace what is there; returns lines that a person should read."""
        ...

    def remove(self, job: Job) -> bool:
        """Whether there was anything. Idempotent."""
        ...

    def times(self, job: Job, config: ScheduleConfig | None) -> dict[str, str | None]:
        """``next`` and ``last``: ISO 8601, None where there is none; both None where it is not installed."""
        ...

    def is_installed(self, job: Job) -> bool: ...


@dataclass(frozen=True, slots=True)
class Systemd:
    """``directory`` is where its unit files go, ``user`` whether they are the user's own."""

    directory: Path
    user: bool
    name: str = "systemd"

    def check(self, when: str) -> None:
        try:
            run(["systemd-analyze", "calendar", "--iterations=1", when], timeout=_TIMEOUT)
        except CommandFailed as error:
            raise LabError(
                f"--when: must be one of {', '.join(PRESETS)} or a calendar expression of systemd.time(7); got {when}",
                "`systemd-analyze calendar EXPRESSION` tries one, such as 'Mon *-*-* 03:30'",
            ) from error

    def install(self, job: Job, config: ScheduleConfig) -> list[str]:
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, text in render_units(read_templates(), job, config).items():
            write_whole(self.directory / name, text)
        for words in install_commands(job):
            self._systemctl(*words)
        if not self.user:
            return []
        lingers = Path("/var/lib/systemd/linger", getpass.getuser()).exists()
        return [] if lingers else ["it runs while you are logged in; always, after `loginctl enable-linger`"]

    def remove(self, job: Job) -> bool:
        units = [self.directory / f"{job.name}.{kind}" for kind in ("timer", "service")]
        there = any(unit.exists() for unit in units)
        if there:
            self._systemctl("disable", "--now", f"{job.name}.timer", check=False)
            for unit in units:
                unit.unlink(missing_ok=True)
            self._systemctl("daemon-reload")
            # What Persistent= remembers the last run by; systemd keeps it for ever.
            self._systemctl("clean", "--what=state", f"{job.name}.timer", check=False)
            for stamps in (Path("/var/lib/systemd/timers"), Path.home() / ".local/share/systemd/timers"):
                (stamps / f"stamp-{job.name}.timer").unlink(missing_ok=True)
        return there

    def times(self, job: Job, config: ScheduleConfig | None) -> dict[str, str | None]:
        said = self._systemctl(
            "show",
            "--timestamp=unix",
            "--property=NextElapseUSecRealtime,LastTriggerUSec",
            f"{job.name}.timer",
            check=False,
        )
        values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        return {"next": _iso(values.get("NextElapseUSecRealtime")), "last": _iso(values.get("LastTriggerUSec"))}

    def is_installed(self, job: Job) -> bool:
        return (self.directory / f"{job.name}.timer").exists()

    def _systemctl(self, *words: str, check: bool = True) -> str:
        return run(["systemctl", *(["--user"] if self.user else []), *words], timeout=_TIMEOUT, check=check).stdout


@dataclass(frozen=True, slots=True)
class Cron:
    """The user's crontab, through crontab(1)."""

    name: str = "cron"

    def check(self, when: str) -> None:
        cron_time(when, "")

    def install(self, job: Job, config: ScheduleConfig) -> list[str]:
        lines = render_crontab(read_templates(), job, config)
        others = without_block(self._read(), job.name)
        if others and not others.endswith("\n"):
            others += "\n"
        self._write(others + lines)
        return []

    def remove(self, job: Job) -> bool:
        text = self._read()
        others = without_block(text, job.name)
        if others == text:
            return False
        if others.strip():
            self._write(others)
        else:
            run(["crontab", "-r"], timeout=_TIMEOUT)
        return True

    def times(self, job: Job, config: ScheduleConfig | None) -> dict[str, str | None]:
        following = cron_time(config.when, job.name).next(datetime.now().astimezone()) if config else None
        return {"next": following.isoformat(timespec="seconds") if following else None, "last": None}

    def is_installed(self, job: Job) -> bool:
        return f"# {job.name}: begin" in self._read()

    def _read(self) -> str:
        result = run(["crontab", "-l"], timeout=_TIMEOUT, check=False)
        if not result.ok and "no crontab" not in result.stderr:
            raise CommandFailed(f"crontab -l: {result.stderr.strip()}")
        return result.stdout if result.ok else ""

    def _write(self, text: str) -> None:
        run(["crontab", "-"], timeout=_TIMEOUT, input=text)


def install_commands(job: Job) -> list[list[str]]:
    """What systemctl(1) is asked after the files are there."""
    timer = f"{job.name}.timer"
    return [["daemon-reload"], ["enable", "--quiet", timer], ["restart", timer]]


def find_clock(run_systemd: Path = Path("/run/systemd/system")) -> Clock:
    """systemd where it runs (sd_booted(3)), else cron. Raises ``MissingTool`` where there is neither."""
    if run_systemd.is_dir():
        if os.geteuid() == 0:
            return Systemd(Path("/etc/systemd/system"), user=False)
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return Systemd(config / "systemd/user", user=True)
    if shutil.which("crontab"):
        return Cron()
    raise MissingTool("schedule: neither systemd runs here nor is crontab(1) there", "install the package cron")


def install(changes: Mapping[str, Any]) -> int:
    """`schedule.install`: what the options say goes into ``schedule.yaml``, the rest of which is kept.
    An option that was not given is empty or 0."""
    console, home, clock = open_console(stderr=True), find_user_home(), find_clock()
    path, job = schedule_file(home.data), find_job(home)
    asked = {key: value for key, value in changes.items() if value}
    config = change_schedule(load_schedule(path) if path.exists() else ScheduleConfig(), asked)
    config = config.model_copy(update={"provider": check_request(config.os, config.provider)})
    clock.check(config.when)
    write_schedule(path, config)
    files = JobFiles(home.data)
    files.logs.mkdir(parents=True, exist_ok=True)
    if not files.stamp.exists():
        files.stamp.touch()
    notes = clock.install(job, config)
    if os.geteuid() != 0:
        notes.append("a box of lxc is proven by booting a lab of it, which needs root: install it as root")
    console.print(f"[green]✓[/] box rackbox/{config.os} for {config.provider}: {config.when}, by {clock.name}")
    for note in notes:
        console.print(f"  {note}", soft_wrap=True)
    console.print(f"  next run: {clock.times(job, config)['next'] or 'not known'}; settings: {path}", soft_wrap=True)
    return EXIT_OK


def remove() -> int:
    """`schedule.remove`: leaves nothing of the schedule but the boxes and their figures."""
    console, home, clock = open_console(stderr=True), find_user_home(), find_clock()
    was_there = clock.remove(find_job(home))
    path = schedule_file(home.data)
    was_there = was_there or path.exists()
    path.unlink(missing_ok=True)
    shutil.rmtree(JobFiles(home.data).root, ignore_errors=True)
    console.print("schedule removed" if was_there else "there is no schedule: nothing to do")
    return EXIT_OK


def run_now(due: bool, jitter: bool) -> int:
    """`schedule.run`: what the timer and cron call."""
    home = find_user_home()
    path = schedule_file(home.data)
    if not path.exists():
        raise LabError(f"{path}: no schedule", _NOT_INSTALLED)
    return run_job(home, load_schedule(path), due=due, jitter=jitter)


def show_status(as_json: bool) -> int:
    """`schedule.status`: 0 whatever the last run's result; 3 where there is no schedule."""
    home, clock = find_user_home(), find_clock()
    path, job = schedule_file(home.data), find_job(home)
    if not path.exists() and not clock.is_installed(job):
        raise LabError("there is no schedule", _NOT_INSTALLED)
    document = status_json(home, load_schedule(path), clock, job)
    if as_json:
        write_json(document, None)
    else:
        _print_status(document, open_console())
    return EXIT_OK


def status_json(home: Home, config: ScheduleConfig, clock: Clock, job: Job) -> dict[str, Any]:
    files = JobFiles(home.data)
    runs = read_lines(files.runs)
    times = clock.times(job, config)
    return {
        "schema": 1,
        "installed": clock.is_installed(job),
        "clock": clock.name,
        "unit": job.name,
        "when": config.when,
        "os": config.os,
        "provider": config.provider,
        "next": times["next"],
        "last": runs[-1]["started"] if runs else times["last"],
        "result": runs[-1]["result"] if runs else None,
        "runs": runs[-RUNS_SHOWN:],
        "figures": [
            line
            for line in read_lines(files.figures)
            if (line.get("os"), line.get("provider")) == (config.os, config.provider)
        ][-RUNS_SHOWN:],
        "settings": str(schedule_file(home.data)),
        "logs": str(files.logs),
    }


def find_job(home: Home) -> Job:
    return Job(PROJECT / "lab", home.data, Path.home())


def read_templates(project: Path = PROJECT) -> dict[str, str]:
    return {name: (project / "packaging/schedule" / name).read_text(encoding="utf-8") for name in TEMPLATES}


def _print_status(document: Mapping[str, Any], console: Console) -> None:
    where = f"by {document['clock']}" if document["installed"] else f"[red]not installed[/] ({document['clock']})"
    console.print(f"box rackbox/{document['os']} for {document['provider']}: {document['when']}, {where}")
    console.print(f"  next run  {document['next'] or 'not known'}")
    console.print(f"  last run  {document['last'] or 'none yet'}")
    for line in document["runs"]:
        colour = "green" if line["result"] in ("built", "unchanged") else "red"
        told = "".join(f"; {name}: {answer}" for name, answer in line.get("notified", {}).items() if answer != "ok")
        text = f"{line['started']}  [{colour}]{line['result']}[/]  {line['version']}  {line['seconds']:.0f} s"
        console.print(f"  {text}  {line['message']}{told}", soft_wrap=True)
    for line in document["figures"]:
        figures = ", ".join(f"{name} {value:g}" for name, value in line["figures"].items())
        console.print(f"  {line['version']}  {figures}", soft_wrap=True)
    console.print(f"  settings {document['settings']}\n  logs {document['logs']}", style="dim", soft_wrap=True)


def _iso(value: str | None) -> str | None:
    """``@1763944260`` of ``systemctl show --timestamp=unix``, else what systemd said."""
    if not value or value in ("n/a", "0", "@0"):
        return None
    if match := re.fullmatch(r"@(\d+)(?:\.\d+)?", value):
        return datetime.fromtimestamp(int(match[1]), UTC).isoformat(timespec="seconds")
    return value

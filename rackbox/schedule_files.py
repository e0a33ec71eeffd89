"""What a schedule is made of on a computer: systemd units, or lines of a crontab. Pure: it renders and reads text.

Entry points: ``render_units``, ``render_crontab``, ``without_block``, ``cron_time``. The templates are in
``packaging/schedule/``; every value goes through the quoting of the program that will read it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined

from rackbox.cron import CronTime, parse_cron
from rackbox.errors import LabError
from rackbox.schedule_config import PRESETS, ScheduleConfig

TEMPLATES = ("service.j2", "timer.j2", "crontab.j2")
GRACE_SECONDS = 300
"""Between the end that a run makes by itself and the one that systemd or timeout(1) makes."""


@dataclass(frozen=True, slots=True)
class Job:
    """Where a schedule's job is: rackbox's own ``lab`` script, the data directory, and whose it is."""

    program: Path
    home: Path
    user_home: Path

    @property
    def name(self) -> str:
        """One schedule for each data directory."""
        return f"rackbox-schedule-{hashlib.sha256(str(self.home).encode()).hexdigest()[:8]}"


def render_units(templates: Mapping[str, str], job: Job, config: ScheduleConfig) -> dict[str, str]:
    """A service and its timer, by the names of their files."""
    values = {
        "config": config,
        "program": job.program,
        "home": job.home,
        "user_home": job.user_home,
        "limit_s": config.limit // 1000,
    }
    return {
        f"{job.name}.service": _environment(templates).get_template("service.j2").render(values),
        f"{job.name}.timer": _environment(templates).get_template("timer.j2").render(values),
    }


def render_crontab(templates: Mapping[str, str], job: Job, config: ScheduleConfig) -> str:
    """The lines between the two marks, marks included. Raises ``LabError`` for a time that cron does not have."""
    limit = config.limit // 1000 + GRACE_SECONDS
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    words = ["env", f"RACKBOX_HOME={job.home}", path, "nice", "-n", "19", "ionice", "-c", "3"]
    words += ["timeout", "-k", "60", str(limit), str(job.program), "schedule.run"]
    values = {"marker": job.name, "times": cron_time(config.when, job.name).text, "command": shlex.join(words)}
    return _environment(templates).get_template("crontab.j2").render(values)


def cron_time(when: str, name: str) -> CronTime:
    """``when`` as cron has it. The presets' minute differs from computer to computer, and stays the same on each."""
    minute = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 60
    presets = dict(
        zip(PRESETS, (f"{minute} * * * *", f"{minute} 3 * * *", f"{minute} 3 * * 1", f"{minute} 3 1 * *"), strict=True)
    )
    try:
        return parse_cron(presets.get(when, when))
    except ValueError as error:
        raise LabError(
            f"--when: without systemd it must be one of {', '.join(PRESETS)} or a time of crontab(5); got {when}",
            f"five fields, such as '30 3 * * 1' ({error})",
        ) from error


def without_block(crontab: str, name: str) -> str:
    """A crontab without that schedule's lines; all others stay as they are."""
    block = rf"^# {re.escape(name)}: begin\b.*?^# {re.escape(name)}: end\n?"
    return re.sub(block, "", crontab, flags=re.MULTILINE | re.DOTALL)


def quote_unit(value: object) -> str:
    """A plain value of a unit file: ``%`` begins a specifier (systemd.unit(5)), and a line is one line."""
    return " ".join(str(value).splitlines()).replace("%", "%%")


def quote_word(value: object) -> str:
    """One word of a setting that takes several, such as ``Environment=`` (systemd.syntax(7), "QUOTING")."""
    text = quote_unit(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def quote_exec(value: object) -> str:
    """One argument in ``ExecStart=``, where ``$`` begins a variable (systemd.service(5), "COMMAND LINES")."""
    return quote_word(value).replace("$", "$$")


def quote_cron(value: object) -> str:
    """A command in a crontab: ``%`` would end it (crontab(5))."""
    return str(value).replace("%", "\\%")


def _environment(templates: Mapping[str, str]) -> Environment:
    environment = Environment(
        loader=DictLoader(dict(templates)),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - nothing here is HTML; each reader has its own quoting
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(unit=quote_unit, word=quote_word, exec=quote_exec, cron=quote_cron)
    return environment

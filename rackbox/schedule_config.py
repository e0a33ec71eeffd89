"""``schedule.yaml`` in the data directory: when boxes are rebuilt, how far a run may go, and who is told.

Entry points: ``load_schedule``, ``change_schedule``, ``write_schedule``. Strict like a lab's file: all problems at
once, each with file, line and path; unknown keys are errors. The webhook's address may be a secret: the file is for
its owner alone, and no repr or error shows it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rackbox.config_errors import explain
from rackbox.durations import format_duration, format_size
from rackbox.errors import ConfigError, LabError
from rackbox.fields import Rule, choice, duration_between, size_between, whole
from rackbox.yamlfile import load_yaml

FILE = "schedule.yaml"
PRESETS = ("hourly", "daily", "weekly", "monthly")
NOTIFY_ON = ("always", "change", "failure")
HEAD = """# When rackbox rebuilds its base box by itself. Made by `./lab schedule.install`, which keeps the values that
# are here; run it again after a change. The webhook's address may be a secret: keep this file to yourself.
"""
_WHEN = f"{', '.join(PRESETS)}, a calendar expression of systemd.time(7) or a time of crontab(5)"
_URL = "an http:// or https:// address"


def _parse_when(value: Any) -> str:
    text = str(value).strip() if isinstance(value, str) else ""
    if not text or not re.fullmatch(r"[A-Za-z0-9*/:.,~ +_-]+", text):
        raise ValueError(f"must be {_WHEN}")
    return text


def _parse_command(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise ValueError("must be a list of words: the program and its arguments, such as [logger, -t, rackbox]")
    return tuple(value)


def _parse_webhook(value: Any) -> str:
    """What was given is not repeated in the error: it may be a secret."""
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", str(value)):
        raise ValueError(f"must be {_URL}")
    return str(value)


def _parse_name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", value):
        raise ValueError("must be a name of a-z, 0-9, dots and hyphens")
    return value


WHEN = Rule(_parse_when, {"type": "string"})
COMMAND = Rule(_parse_command, {"type": "array", "items": {"type": "string"}}).optional()
NAME = Rule(_parse_name, {"type": "string"})
WEBHOOK = Rule(_parse_webhook, {"type": "string", "format": "uri"}).optional()


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NotifyConfig(_Part):
    """Who is told: ``command`` gets the report as JSON on standard input, ``webhook`` by POST.

    ``on`` says after which runs; ``timeout`` (milliseconds) is for each try, ``retries`` the further ones of a webhook.
    """

    on: Annotated[str, choice(*NOTIFY_ON)] = "change"
    command: Annotated[tuple[str, ...] | None, COMMAND] = None
    webhook: Annotated[str | None, WEBHOOK] = Field(default=None, repr=False)
    timeout: Annotated[int, duration_between("1s", "5m")] = 10_000
    retries: Annotated[int, whole(0, 10)] = 2


class ScheduleConfig(_Part):
    """``jitter`` is how much later a run may start at most, ``limit`` when it is ended (both milliseconds); ``keep``
    how many good versions stay, ``free`` the space (MiB) that a run needs."""

    when: Annotated[str, WHEN] = "weekly"
    os: Annotated[str, NAME] = "debian-13"
    provider: Annotated[str, NAME] = "lxc"
    jitter: Annotated[int, duration_between("0s", "24h")] = 3_600_000
    limit: Annotated[int, duration_between("1m", "24h")] = 3_600_000
    keep: Annotated[int, whole(1, 100)] = 3
    free: Annotated[int, size_between("1M", "10T")] = 6144
    notify: NotifyConfig = NotifyConfig()


def schedule_file(data: Path) -> Path:
    return data / FILE


def load_schedule(path: Path) -> ScheduleConfig:
    """Raises ``ConfigError`` with everything that is wrong, also when there is no such file."""
    source = load_yaml(path)
    try:
        return ScheduleConfig.model_validate(source.data)
    except ValidationError as error:
        problems = [source.problem(where, _hide(where, text)) for where, text in explain(error, ScheduleConfig)]
        raise ConfigError(sorted(set(problems), key=lambda problem: (problem.line, problem.path))) from None


def change_schedule(config: ScheduleConfig, changes: Mapping[str, Any]) -> ScheduleConfig:
    """``config`` with what the command line says, as it was written there: ``{"when": "daily", "notify.on": …}``."""
    data = schedule_data(config)
    for key, value in changes.items():
        part = data
        *outer, last = key.split(".")
        for name in outer:
            part = part.setdefault(name, {})
        part[last] = value
    try:
        return ScheduleConfig.model_validate(data)
    except ValidationError as error:
        words = [f"--{'-'.join(map(str, path))}: {_hide(path, text)}" for path, text in explain(error, ScheduleConfig)]
        raise LabError("\n".join(words), "`./lab schedule.install --help` shows the options") from None


def schedule_data(config: ScheduleConfig) -> dict[str, Any]:
    """As it stands in the file, every key with its unit."""
    notify = config.notify
    return {
        "when": config.when,
        "os": config.os,
        "provider": config.provider,
        "jitter": format_duration(config.jitter) if config.jitter else "0s",
        "limit": format_duration(config.limit),
        "keep": config.keep,
        "free": format_size(config.free),
        "notify": {
            "on": notify.on,
            **({"command": list(notify.command)} if notify.command else {}),
            **({"webhook": notify.webhook} if notify.webhook else {}),
            "timeout": format_duration(notify.timeout),
            "retries": notify.retries,
        },
    }


def write_schedule(path: Path, config: ScheduleConfig) -> None:
    """Whole or not at all, and for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(HEAD + yaml.safe_dump(schedule_data(config), sort_keys=False, allow_unicode=True))
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _hide(path: tuple[str | int, ...], text: str) -> str:
    """A mistyped address may still be a secret."""
    return f"{text.split('; got ', maxsplit=1)[0]}; got something else" if path[-1:] == ("webhook",) else text

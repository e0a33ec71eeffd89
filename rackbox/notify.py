"""Tells somebody what came of a scheduled run: a program with the report on its standard input, and a webhook.

Entry point: ``notify``. It never raises for what others do wrong (a server that is away must not fail a rebuild): what
went wrong is in its answer, without the webhook's address, which may be a secret.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests

from rackbox.errors import LabError
from rackbox.run import run
from rackbox.schedule_config import NotifyConfig

PAUSE_SECONDS = 2.0
"""Before the first further try; each later one waits twice as long."""

Say = Callable[[str], None]


def notify(
    config: NotifyConfig, report: Mapping[str, Any], say: Say, sleep: Callable[[float], None] = time.sleep
) -> dict[str, str]:
    """``command`` and ``webhook`` → "ok", or what went wrong; only those that are asked for. ``report`` is one line of
    ``runs.jsonl``."""
    if not is_wanted(config, report):
        return {}
    told: dict[str, str] = {}
    if config.command:
        told["command"] = _run_command(config, report)
    if config.webhook:
        told["webhook"] = _post(config, config.webhook, report, sleep)
    for name, answer in told.items():
        say(f"notification by {name}: {answer}")
    return told


def is_wanted(config: NotifyConfig, report: Mapping[str, Any]) -> bool:
    failed = report.get("result") not in ("built", "unchanged")
    return config.on == "always" or failed or (config.on == "change" and report.get("result") == "built")


def _run_command(config: NotifyConfig, report: Mapping[str, Any]) -> str:
    assert config.command
    try:
        result = run(config.command, timeout=config.timeout / 1000, check=False, input=json.dumps(report) + "\n")
    except (LabError, OSError) as error:
        return str(error).splitlines()[0]
    if result.ok:
        return "ok"
    last = (result.stderr or result.stdout).strip().splitlines()[-1:]
    return f"{config.command[0]}: exit {result.returncode}" + (f": {last[0][:200]}" if last else "")


def _post(config: NotifyConfig, address: str, report: Mapping[str, Any], sleep: Callable[[float], None]) -> str:
    problem = ""
    for number in range(config.retries + 1):
        if number:
            sleep(PAUSE_SECONDS * 2 ** (number - 1))
        try:
            answer = requests.post(address, json=dict(report), timeout=config.timeout / 1000, allow_redirects=False)
        except requests.RequestException as error:
            problem = type(error).__name__  # its text names the address
            continue
        if 200 <= answer.status_code < 300:
            return "ok"
        problem = f"HTTP {answer.status_code}"
        if answer.status_code < 500 and answer.status_code not in (408, 429):
            break  # to say the same again changes nothing
    return f"{problem}, after {number + 1} of {config.retries + 1} tries"

"""The schedule's text: times, units, crontab lines, ``schedule.yaml``. What runs them is tested elsewhere."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from rackbox.cron import parse_cron
from rackbox.errors import ConfigError, LabError
from rackbox.schedule import _iso, read_templates
from rackbox.schedule_config import (
    ScheduleConfig,
    change_schedule,
    load_schedule,
    schedule_data,
    schedule_file,
    write_schedule,
)
from rackbox.schedule_files import Job, cron_time, render_crontab, render_units, without_block

ODD = Job(Path('/srv/my "rack" 100% $x/lab'), Path("/home/o'neil/rack $box\\1"), Path("/root"))
NOW = datetime(2026, 11, 21, 20, 53)  # a Saturday


@pytest.mark.parametrize(
    ("text", "previous", "following"),
    [
        ("* * * * *", "2026-11-21 20:53", "2026-11-21 20:54"),
        ("*/15 * * * *", "2026-11-21 20:45", "2026-11-21 21:00"),
        ("30 3 * * *", "2026-11-21 03:30", "2026-11-22 03:30"),
        ("30 3 * * mon", "2026-11-16 03:30", "2026-11-23 03:30"),
        ("0 0 * * 7", "2026-11-15 00:00", "2026-11-22 00:00"),
        ("0 0 1 * *", "2026-11-01 00:00", "2026-12-01 00:00"),
        ("0 0 29 2 *", "2024-02-29 00:00", "2028-02-29 00:00"),
        ("0 9-17/4 * jan,jul *", "2026-07-31 17:00", "2027-01-01 09:00"),
        ("0 0 1 * 5", "2026-11-20 00:00", "2026-11-27 00:00"),  # either day will do
        ("59 20 * * 6", "2026-11-14 20:59", "2026-11-21 20:59"),
    ],
)
def test_times_of_crontab(text: str, previous: str, following: str) -> None:
    time = parse_cron(text)
    assert f"{time.previous(NOW):%Y-%m-%d %H:%M}" == previous
    assert f"{time.next(NOW):%Y-%m-%d %H:%M}" == following


def test_a_day_that_never_comes() -> None:
    assert parse_cron("0 0 31 2 *").next(NOW) is None
    assert parse_cron("0 0 31 2 *").previous(NOW) is None


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *",
                                  "* * * foo *", "@daily", "* * * * 8", "1,,2 * * * *", "-1 * * * *"])  # fmt: skip
def test_what_is_no_time_of_crontab(text: str) -> None:
    with pytest.raises(ValueError, match=r"must (be|have)"):
        parse_cron(text)


def test_the_presets_have_a_minute_of_their_own_that_stays() -> None:
    assert cron_time("weekly", "a") == cron_time("weekly", "a")
    assert {cron_time("daily", str(n)).text.split()[0] for n in range(200)} > {"0", "30"}
    with pytest.raises(LabError, match="--when: without systemd"):
        cron_time("Mon *-*-* 03:30", "a")


def test_units_quote_whatever_a_path_has() -> None:
    units = render_units(read_templates(), ODD, ScheduleConfig())
    service, timer = units[f"{ODD.name}.service"], units[f"{ODD.name}.timer"]
    assert r'ExecStart=/usr/bin/env "/srv/my \"rack\" 100%% $$x/lab" schedule.run' in service
    assert r"""Environment="RACKBOX_HOME=/home/o'neil/rack $box\\1""" in service
    assert "TimeoutStartSec=3900\n" in service
    assert "IOSchedulingClass=idle\n" in service
    assert "OnCalendar=weekly\n" in timer
    assert "RandomizedDelaySec=3600\n" in timer
    assert "Persistent=true\n" in timer


def test_crontab_lines_are_one_shell_command_each() -> None:
    lines = render_crontab(read_templates(), ODD, ScheduleConfig(when="30 3 * * 1")).splitlines()
    assert lines[0].startswith(f"# {ODD.name}: begin")
    assert lines[-1] == f"# {ODD.name}: end"
    assert lines[1].startswith("30 3 * * 1 ")
    assert lines[2].startswith("@reboot ")
    command = lines[1].removeprefix("30 3 * * 1 ")
    assert "%" not in command.replace("\\%", "")
    words = shlex.split(command.replace("\\%", "%"))
    assert str(ODD.program) in words
    assert f"RACKBOX_HOME={ODD.home}" in words


def test_other_lines_of_a_crontab_stay() -> None:
    own = render_crontab(read_templates(), ODD, ScheduleConfig())
    other = Job(ODD.program, Path("/elsewhere"), ODD.user_home)
    theirs = render_crontab(read_templates(), other, ScheduleConfig())
    before = "MAILTO=me\n0 4 * * * backup # rackbox\n"
    after = "5 5 * * 5 x\n"
    assert without_block(before + own + theirs + after, ODD.name) == before + theirs + after
    assert without_block(before, ODD.name) == before


def test_what_systemd_says_of_a_time() -> None:
    assert _iso("@1763944260") == "2025-11-24T00:31:00+00:00"
    assert [_iso(value) for value in ("", "n/a", "0", None)] == [None] * 4


# --- schedule.yaml


def test_the_file_is_read_back_as_it_was_written_and_is_the_owners(tmp_path: Path) -> None:
    path = schedule_file(tmp_path)
    config = change_schedule(
        ScheduleConfig(),
        {"when": "Mon *-*-* 03:30", "keep": 5, "jitter": "0s", "notify.on": "always", "notify.webhook": "http://h/x%y"},
    )
    write_schedule(path, config)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_schedule(path) == config
    assert yaml.safe_load(path.read_text())["notify"]["webhook"] == "http://h/x%y"
    assert "http://h" not in repr(config)


BAD: list[tuple[str, list[str]]] = [
    ("when: [1]\n", [":1: when: must be"]),
    ("when: weekly\nkeep: 0\nnotfy:\n", [":2: keep: must be a whole number from 1 to 100; got 0",
                                         ":3: notfy: unknown key; did you mean notify?"]),
    ("limit: 1s\nfree: 5\n", [":1: limit: must be from 1m to 24h; got 1s", ":2: free: must be a size with its unit"]),
    ("notify:\n  command: rm -rf\n", [":2: notify.command: must be a list of words"]),
    ("notify:\n  on: never\n", [":2: notify.on: must be one of always, change, failure; got never"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), BAD)
def test_problems_name_file_line_and_path(tmp_path: Path, text: str, wanted: list[str]) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_schedule(path)
    for problem, line in zip(wanted, caught.value.message.splitlines(), strict=True):
        assert f"{path}{problem}" in line


@pytest.mark.parametrize("address", ["ftp://h/SECRET", "SECRET", "http://", "http://h/ SECRET", 5, ["http://SECRET"]])
def test_a_wrong_webhook_is_not_repeated(tmp_path: Path, address: Any) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(yaml.safe_dump({"notify": {"webhook": address}}))
    with pytest.raises(ConfigError, match=r"notify\.webhook: must be an http:// or https:// address") as caught:
        load_schedule(path)
    assert "SECRET" not in str(caught.value)
    with pytest.raises(LabError, match="--notify-webhook") as refused:
        change_schedule(ScheduleConfig(), {"notify.webhook": address})
    assert "SECRET" not in refused.value.message


def test_options_change_what_is_there() -> None:
    config = change_schedule(ScheduleConfig(), {"notify.command": ["logger"]})
    changed = change_schedule(config, {"when": "daily"})
    assert changed.notify.command == ("logger",)
    assert schedule_data(changed)["when"] == "daily"
    with pytest.raises(LabError, match="--jitter: must be"):
        change_schedule(config, {"jitter": "soon"})

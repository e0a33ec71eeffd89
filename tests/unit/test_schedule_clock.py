"""systemd and cron as the schedule's clock: what they are asked, and what stays behind (nothing)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rackbox import schedule
from rackbox.errors import CommandFailed, LabError, MissingTool
from rackbox.paths import Home
from rackbox.run import Result
from rackbox.schedule import Cron, Systemd, find_clock


class Programs:
    """Stands in for ``run``: notes what is asked, keeps a crontab, and says what it was told to say."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.crontab: str | None = None
        self.says: dict[str, str] = {}
        self.fails: set[str] = set()

    def run(self, argv: Sequence[str], *, check: bool = True, input: str | None = None, **_: Any) -> Result:
        words = list(argv)
        self.asked.append(words)
        code, out, err = 0, self.says.get(words[0], ""), ""
        if words == ["crontab", "-"]:
            self.crontab = input
        elif words == ["crontab", "-r"]:
            self.crontab = None
        elif words == ["crontab", "-l"]:
            code, out, err = (1, "", "no crontab for root") if self.crontab is None else (0, self.crontab, "")
        if words[0] in self.fails:
            code = 1
        if check and code:
            raise CommandFailed(words[0])
        return Result(tuple(words), code, out, err, 0.0)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    stand_in = Programs()
    monkeypatch.setattr(schedule, "run", stand_in.run)
    return stand_in


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    found = Home(tmp_path / "data", tmp_path / "run")
    monkeypatch.setattr(schedule, "find_user_home", lambda: found)
    return found


def use(monkeypatch: pytest.MonkeyPatch, clock: Cron | Systemd) -> None:
    monkeypatch.setattr(schedule, "find_clock", lambda: clock)


def test_with_systemd(tmp_path: Path, programs: Programs, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    units = tmp_path / "units"
    use(monkeypatch, Systemd(units, user=False))
    assert schedule.install({"when": "Mon *-*-* 03:30", "keep": 0, "notify.on": ""}) == 0
    name = schedule.find_job(home).name
    assert sorted(path.name for path in units.iterdir()) == [f"{name}.service", f"{name}.timer"]
    assert ["systemd-analyze", "calendar", "--iterations=1", "Mon *-*-* 03:30"] in programs.asked
    assert ["systemctl", "enable", "--quiet", f"{name}.timer"] in programs.asked
    assert schedule.install({"when": "daily"}) == 0, "again: it changes what is there"
    assert "OnCalendar=daily" in (units / f"{name}.timer").read_text()
    assert len(list(units.iterdir())) == 2
    assert schedule.remove() == 0
    assert ["systemctl", "disable", "--now", f"{name}.timer"] in programs.asked
    assert list(units.iterdir()) == []
    assert list(home.data.iterdir()) == []
    assert schedule.remove() == 0, "nothing to do, and no error"


def test_the_users_own_units(tmp_path: Path, programs: Programs, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Systemd(tmp_path / "units", user=True))
    assert schedule.install({}) == 0
    assert all(words[1] == "--user" for words in programs.asked if words[0] == "systemctl")


def test_a_time_that_systemd_refuses(
    tmp_path: Path, programs: Programs, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.fails.add("systemd-analyze")
    use(monkeypatch, Systemd(tmp_path / "units", user=False))
    with pytest.raises(LabError, match="--when: must be one of hourly, daily"):
        schedule.install({"when": "now and then"})
    assert not (tmp_path / "units").exists()
    assert not (home.data / "schedule.yaml").exists()


def test_with_cron(programs: Programs, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Cron())
    programs.crontab = "5 5 * * * other"
    assert schedule.install({"when": "30 3 * * 1"}) == 0
    assert schedule.install({"when": "daily"}) == 0
    assert programs.crontab.splitlines()[0] == "5 5 * * * other"
    assert programs.crontab.count(": begin") == 1
    assert "30 3 * * 1" not in programs.crontab
    assert schedule.remove() == 0
    assert programs.crontab == "5 5 * * * other\n"
    programs.crontab = None
    schedule.install({"when": "weekly"})
    schedule.remove()
    assert programs.crontab is None, "a crontab that was not there is not there again"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [({"os": "debian-1"}, "os: must be one of .*debian-13"), ({"provider": "xen"}, "must be .*lxc.*; got xen"),
     ({"when": "Mon 3 o'clock"}, "--when: must be"), ({"when": "* * * *"}, "--when: without systemd"),
     ({"keep": 101}, "--keep: must be a whole number from 1 to 100; got 101")],
)  # fmt: skip
def test_options_that_cannot_be(
    changes: Mapping[str, Any], wanted: str, programs: Programs, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Cron())
    with pytest.raises(LabError, match=wanted):
        schedule.install(changes)
    assert programs.crontab is None
    assert not (home.data / "schedule.yaml").exists()


def test_status(
    programs: Programs, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, Systemd(tmp_path / "units", user=False))
    with pytest.raises(LabError, match="there is no schedule"):
        schedule.show_status(True)
    schedule.install({"notify.webhook": "http://127.0.0.1/SECRET"})
    line = {"result": "refused", "started": "2026-11-21T03:30:00+00:00", "version": "2", "seconds": 61.2,
            "message": "the gate refused it", "notified": {"webhook": "HTTP 500, after 3 of 3 tries"}}  # fmt: skip
    (home.data / "schedule" / "runs.jsonl").write_text(json.dumps(line) + "\n")
    programs.says["systemctl"] = "NextElapseUSecRealtime=@1795400000\nLastTriggerUSec=@1795300000\n"
    capsys.readouterr()
    schedule.show_status(True)
    document = json.loads(capsys.readouterr().out)
    assert (document["clock"], document["result"], document["last"]) == ("systemd", "refused", line["started"])
    assert document["next"] == "2026-11-23T02:13:20+00:00"
    schedule.show_status(False)
    shown = capsys.readouterr().out
    assert "refused" in shown
    assert "webhook: HTTP 500" in shown
    assert "SECRET" not in json.dumps(document) + shown


def test_the_clock_is_systemds_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert find_clock(tmp_path) == Systemd(Path("/etc/systemd/system"), user=False)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/crontab")
    assert find_clock(tmp_path / "no") == Cron()
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingTool, match="neither systemd runs here nor is crontab"):
        find_clock(tmp_path / "no")


def test_a_run_without_a_schedule(home: Home) -> None:
    with pytest.raises(LabError, match="no schedule"):
        schedule.run_now(False, False)

"""The schedule on real clocks: systemd's in a machine of the lab, cron's in a mount namespace of this computer."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rackbox.paths import PROJECT
from rackbox.run import run
from rackbox.schedule import install_commands, read_templates
from rackbox.schedule_config import ScheduleConfig
from rackbox.schedule_files import Job, render_units
from tests.e2e.labs import LabUnderTest, environment, program_argv

pytestmark = pytest.mark.life

HOST = "worker1"
# What stands in for `./lab` in the machine: says that it was started, and takes a while.
STAND_IN = """#!/bin/sh
echo "begin $1 $RACKBOX_HOME" >>/var/lib/fired
sleep 3
echo end >>/var/lib/fired
"""
JOB = Job(Path("/opt/rack box/lab"), Path("/var/lib/rack 100% box"), Path("/root"))


@pytest.mark.timeout(150, func_only=True)
def test_a_timer_fires_survives_a_reboot_and_catches_up(lab: LabUnderTest) -> None:
    machine = lab.live.machine(HOST)
    timer = f"{JOB.name}.timer"
    try:
        _put(lab, str(JOB.program), STAND_IN, "0755")
        _install(lab, "*:*:0/2")  # every two seconds, for a job that takes three
        time.sleep(9)
        lines = _fired(lab)
        assert lines[0] == f"begin schedule.run {JOB.home}"
        assert lines.count("end") >= 2
        assert all(a != b for a, b in itertools.pairwise(lines)), f"runs overlapped: {lines}"
        # The same schedule, once a month, off for long: what was missed is made up for at the next boot, and only that.
        _install(lab, "monthly")
        lab.run(HOST, f"systemctl stop {timer}; touch -d '40 days ago' /var/lib/systemd/timers/stamp-{timer}; sync")
        lab.run(HOST, "rm /var/lib/fired")
        machine.power_off()
        machine.power_on()
        lab.live.wait_healthy(60)
        assert _fired(lab) == [f"begin schedule.run {JOB.home}", "end"]
        shown = lab.run(HOST, f"systemctl show --property=ActiveState,NextElapseUSecRealtime {timer}").stdout
        assert "ActiveState=active" in shown
        machine.power_off()
        machine.power_on()
        lab.live.wait_healthy(60)
        assert len(_fired(lab)) == 2, "nothing was missed this time"
    finally:
        lab.run(
            HOST,
            f"systemctl disable --now {timer}; rm -rf /etc/systemd/system/{JOB.name}.* '/opt/rack box'",
            check=False,
        )
        lab.live.wait_healthy(60)


def _install(lab: LabUnderTest, when: str) -> None:
    config = ScheduleConfig().model_copy(update={"when": when, "jitter": 0})
    for name, text in render_units(read_templates(), JOB, config).items():
        _put(lab, f"/etc/systemd/system/{name}", text)
    units = f"/etc/systemd/system/{JOB.name}.service /etc/systemd/system/{JOB.name}.timer"
    assert lab.run(HOST, f"systemd-analyze verify {units} 2>&1").stdout == ""
    lab.run(HOST, "\n".join(shlex.join(["systemctl", *words]) for words in install_commands(JOB)))


def _put(lab: LabUnderTest, path: str, text: str, mode: str = "0644") -> None:
    data = base64.b64encode(text.encode()).decode()
    lab.run(HOST, f"base64 -d <<<{data} | install -D --mode={mode} /dev/stdin {shlex.quote(path)}")


def _fired(lab: LabUnderTest) -> list[str]:
    deadline = time.monotonic() + 15
    while True:
        lines = lab.run(HOST, "cat /var/lib/fired 2>/dev/null || true").stdout.splitlines()
        if lines.count("end") or time.monotonic() > deadline:
            return lines
        time.sleep(0.5)


# --- cron

PREPARE = """
mount --make-rprivate /
for directory in usr/bin usr/sbin etc; do
  mount -t overlay overlay -o "lowerdir=$TREE/$directory:/$directory" "/$directory"
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/spool
mkdir -p /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
"""


@pytest.fixture(scope="module")
def cron_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's cron, unpacked and not installed: it would be started here."""
    directory = tmp_path_factory.mktemp("cron")
    if not run(["apt-get", "download", "cron"], timeout=120, check=False, cwd=directory).ok:
        pytest.skip("cron cannot be fetched")
    for package in directory.glob("cron_*.deb"):
        run(["dpkg", "-x", str(package), str(directory / "tree")], timeout=30)
    return directory / "tree"


class CronHost:
    """A shell in a mount and process namespace in which cron is this computer's clock."""

    def __init__(self, tree: Path, home: Path) -> None:
        self.home = home
        self._shell = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "bash", "-euo", "pipefail"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**environment(), "TREE": str(tree), "RACKBOX_HOME": str(home)},
        )
        self.run(PREPARE)

    def run(self, script: str) -> str:
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"{{ {script}\n}} 2>&1 || echo FAILED; echo ----\n")
        self._shell.stdin.flush()
        lines = []
        while (line := self._shell.stdout.readline()).strip() != "----":
            assert line, "the shell ended"
            lines.append(line)
        text = "".join(lines)
        assert "FAILED" not in text, text
        return text

    def boot(self) -> None:
        """cron as it is started at boot: whether it runs @reboot it knows by a file in /run."""
        self.run("if [[ -n ${cron-} ]]; then kill $cron; wait $cron || true; fi; rm -rf /run/*; cron -f & cron=$!")

    def lab(self, *words: str) -> str:
        return self.run(shlex.join(program_argv(*words)))

    def results(self) -> list[str]:
        path = self.home / "schedule" / "runs.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["message"] for line in lines]

    def wait_for(self, count: int, seconds: float) -> list[str]:
        deadline = time.monotonic() + seconds
        while len(self.results()) < count and time.monotonic() < deadline:
            time.sleep(0.2)
        return self.results()

    def close(self) -> None:
        self._shell.kill()
        self._shell.communicate(timeout=10)


@pytest.fixture
def cron_host(cron_tree: Path, tmp_path: Path) -> Iterator[CronHost]:
    if os.geteuid() != 0:
        pytest.skip("mount namespaces need root")
    home = tmp_path / "rack 100% box"
    home.mkdir()
    host = CronHost(cron_tree, home)
    try:
        yield host
    finally:
        host.close()


@pytest.mark.timeout(180, func_only=True)
def test_cron_fires_survives_a_reboot_and_catches_up(cron_host: CronHost) -> None:
    """The real job, which refuses to build where there is not so much room: that it says so shows that it ran."""
    host = cron_host
    host.run("echo '5 5 * * * other' | crontab -")
    host.lab("schedule.install", "--when", "* * * * *", "--jitter", "0s")
    settings = host.home / "schedule.yaml"
    settings.write_text(settings.read_text().replace("free: 6G", "free: 10T"))
    host.boot()
    (said,) = host.wait_for(1, 80)
    assert "must have 10485760 MiB free" in said
    # Once a year, off for longer: made up for at the next start, and only then.
    soon = datetime.now() - timedelta(minutes=5)
    host.lab("schedule.install", "--when", f"{soon.minute} {soon.hour} {soon.day} {soon.month} *")
    done = len(host.results())
    year_ago = time.time() - 366 * 86400
    os.utime(host.home / "schedule" / "stamp", (year_ago, year_ago))
    host.boot()
    assert len(host.wait_for(done + 1, 20)) == done + 1
    host.boot()
    time.sleep(4)
    assert len(host.results()) == done + 1, "nothing was missed this time"
    status = json.loads(host.lab("schedule.status", "--json"))
    assert (status["clock"], status["installed"], status["result"]) == ("cron", True, "failed")
    # While a run is under way, another does not start.
    host.run('exec 9>>"$RACKBOX_HOME/schedule/lock"; flock 9')
    said = host.run(f"{shlex.join(program_argv('schedule.run'))} && echo started || echo exit $?")
    assert said.splitlines()[0] == "rackbox: a scheduled run is under way"
    assert said.splitlines()[-1] == "exit 3"
    host.run("exec 9>&-")
    host.lab("schedule.remove")
    assert host.run("crontab -l") == "5 5 * * * other\n"
    assert {path.name for path in host.home.iterdir()} == {"boxes", "vagrant"}, "nothing of the schedule's"

"""The schedule's units, read by the systemd that will run them."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path

import pytest

from rackbox.schedule import read_templates
from rackbox.schedule_config import ScheduleConfig
from rackbox.schedule_files import Job, render_units
from tests.consumer.conftest import Inside

pytestmark = pytest.mark.consumer


@pytest.mark.parametrize(
    "directory",
    ["/srv/rackbox", "/srv/rack box", "/srv/100% rack", '/srv/a "quoted" one', "/srv/o'neil \\ x", "/srv/$HOME"],
)
def test_systemd_takes_the_units_whatever_the_paths_are(directory: str, inside: Inside) -> None:
    job = Job(Path(directory) / "lab", Path(directory) / "data", Path("/root"))
    script = f"mkdir -p {shlex.quote(directory)} && cp /bin/true {shlex.quote(str(job.program))}\n"
    script += "cd /etc/systemd/system\n"
    for name, text in render_units(read_templates(), job, ScheduleConfig()).items():
        script += f"base64 -d <<<{base64.b64encode(text.encode()).decode()} >{name}\n"
    script += f"systemd-analyze verify ./{job.name}.service ./{job.name}.timer"
    done = inside("small/gateway", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize(
    ("when", "good"), [("weekly", True), ("Mon *-*-* 03:30", True), ("*:0/5", True), ("now and then", False)]
)
def test_systemd_tells_times_from_words(when: str, good: bool, inside: Inside) -> None:
    done = inside("small/gateway", f"systemd-analyze calendar --iterations=1 {shlex.quote(when)}")
    assert (done.returncode == 0) is good, done.stderr

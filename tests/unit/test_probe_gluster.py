"""The shared volume's probe, with the agent run here instead of inside a worker, on a tmpfs instead of Gluster."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rackbox.history import Attempt
from rackbox.probes import ProbeSettings
from rackbox.probes.endpoints import GuestEndpoint
from rackbox.probes.gluster_agent import SIZE, content
from rackbox.probes.gluster_write import AGENT
from rackbox.probes.process import ProbeProcess
from rackbox.recorder import load_history
from tests.fakes import FakeLab
from tests.probing import wait_until

MOUNT = Path("/dev/shm")  # a mount point on any Linux


class Stage:
    def __init__(self, directory: Path, mount: Path = MOUNT, **changes: float) -> None:
        self.run = f"test-{secrets.token_hex(4)}"
        self.files = mount / ".rackbox-probe" / self.run
        self.history = directory / "history.jsonl"
        endpoint = GuestEndpoint("worker1", ("bash", "-c"), str(mount))
        values = {"interval": 0.05, "timeout": 2.0, "max_seconds": 30.0, **changes}
        settings = ProbeSettings("gluster-write", self.history, self.run, endpoint, **values)
        self.process = ProbeProcess(FakeLab(directory), settings, directory / "log")

    def goods(self) -> int:
        return sum(a.good for a in self.attempts())

    def attempts(self) -> tuple[Attempt, ...]:
        return load_history(self.history).attempts("gluster-write") if self.history.exists() else ()


@pytest.fixture
def cleared() -> Iterator[None]:
    yield
    shutil.rmtree(MOUNT / ".rackbox-probe", ignore_errors=True)


pytestmark = [pytest.mark.subprocess, pytest.mark.loopback]


def test_writes_are_flushed_read_back_and_cleared(tmp_path: Path, cleared: None) -> None:
    stage = Stage(tmp_path)
    wait_until(lambda: stage.goods() >= 10)
    assert len((stage.files / "00000000").read_bytes()) == SIZE
    stage.process.wait_for_end()
    history = load_history(stage.history)
    (audit,) = history.events("probe-audit")
    assert audit.number("acknowledged") == stage.goods()
    assert (audit.text("of"), audit.texts("lost")) == ("files", ())
    assert history.events("link")[0].number("link_ms") > 0
    assert all("ms in worker1" in attempt.detail for attempt in stage.attempts() if attempt.good)
    assert not stage.files.exists()


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_what_was_acknowledged_and_is_not_there_is_lost(tmp_path: Path, cleared: None, damage: str) -> None:
    stage = Stage(tmp_path)
    wait_until(lambda: stage.goods() >= 5)
    victim = stage.files / "00000003"
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes(content("another run", "00000003"))
    stage.process.wait_for_end()
    (audit,) = load_history(stage.history).events("probe-audit")
    assert audit.texts("lost") == ("00000003",)
    assert stage.files.exists(), "what is wrong stays, for whoever wants to look"


def test_a_directory_that_is_not_mounted_is_not_written_to(tmp_path: Path) -> None:
    stage = Stage(tmp_path, mount=tmp_path)
    wait_until(lambda: len(stage.attempts()) >= 3)
    stage.process.wait_for_end()
    assert {attempt.outcome for attempt in stage.attempts()} == {"fail"}
    assert "is not mounted" in stage.attempts()[0].detail
    assert not stage.files.exists()


def test_a_lost_connection_is_made_again(tmp_path: Path, cleared: None) -> None:
    stage = Stage(tmp_path, timeout=0.5)
    wait_until(lambda: stage.goods() >= 3)
    children = Path(f"/proc/{stage.process.pid}/task/{stage.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    before = stage.goods()
    wait_until(lambda: stage.goods() >= before + 5)
    stage.process.wait_for_end()
    (audit,) = load_history(stage.history).events("probe-audit")
    assert audit.texts("lost") == ()


def test_the_agent_needs_nothing_of_ours() -> None:
    assert "rackbox." not in AGENT.read_text().split('"""', 2)[2]

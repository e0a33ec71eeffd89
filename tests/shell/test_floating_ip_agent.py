"""The OCF agent of the floating IP: what it adds, deletes and announces, and that no listener outlives its migration.

``ip`` and the program that hands over are stand-ins here; both are real in tests/consumer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.shell.guest import FakeGuest

AGENT = "usr/lib/ocf/resource.d/rackbox/floating-ip"
HAND_OVER = "usr/local/lib/rackbox/lb/hand_over.py"
LISTENER = "run/resource-agents/hand_over-192.168.4.20"
SUCCESS, GENERIC, ARGS, UNIMPLEMENTED, INSTALLED, NOT_RUNNING = 0, 1, 2, 3, 5, 7

IP = """
case $* in
  *' address show '*) [[ ! -e $STATE/held ]] || echo held ;;
  *'address add '*) [[ ! -e $STATE/held ]] && touch "$STATE/held" ;;
  *'address delete '*) rm "$STATE/held" 2>/dev/null ;;
esac
"""
LISTENS = "import os, time\nprint('listening', flush=True)\nos.closerange(1, 3)\ntime.sleep(60)\n"
SETTINGS = {"OCF_RESKEY_ip": "192.168.4.20", "OCF_RESKEY_cidr_netmask": "24", "OCF_RESKEY_nic": "dmz"}


class Agent:
    """The agent on a balancer of its own. ``program``: what hand_over.py does, in Python."""

    def __init__(self, directory: Path) -> None:
        self.guest = FakeGuest(directory, "lb1")
        self.guest.fake("ip", IP)
        self.guest.fake("send_arp", "")
        self.held = self.guest.state / "held"
        self.file = self.guest.root / LISTENER
        self.file.parent.mkdir(parents=True)

    def program(self, text: str) -> None:
        (self.guest.root / HAND_OVER).write_text(text)

    def __call__(self, action: str, **settings: str) -> int:
        environment = self.guest.environment | SETTINGS | {"RACKBOX_SEND_ARP": str(self.guest.bin / "send_arp")}
        argv = [str(self.guest.root / AGENT), action]
        return subprocess.run(
            argv, env=environment | settings, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        ).returncode

    def listener(self) -> int:
        return int(self.file.read_text())

    def announced(self) -> list[str]:
        """The counts of announcements. They are sent in the background."""
        for _ in range(500):
            if sent := [line for line in self.guest.calls() if line.startswith("send_arp ")]:
                return [line.split()[4] for line in sent]
            time.sleep(0.02)
        return []


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    with suppress(OSError, ValueError):
        os.kill(made.listener(), signal.SIGKILL)


def runs(pid: int) -> bool:
    """Whether it still is that process; one that has ended and was not waited for has no command line."""
    try:
        return b"hand_over.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_start_adds_and_announces_and_stop_deletes(agent: Agent) -> None:
    assert agent("monitor") == NOT_RUNNING
    assert agent("start") == SUCCESS
    assert agent.held.exists()
    assert agent.announced() == ["5"]
    assert agent("start") == SUCCESS
    assert agent("monitor") == SUCCESS
    assert agent("stop") == SUCCESS
    assert not agent.held.exists()
    assert agent("stop") == SUCCESS


def test_migrate_to_leaves_a_listener_and_the_address(agent: Agent) -> None:
    agent.program(LISTENS)
    agent("start")
    assert agent("migrate_to") == SUCCESS
    assert runs(agent.listener())
    assert agent.held.exists()


@pytest.mark.parametrize("action", ["start", "stop", "migrate_to", "migrate_from"])
def test_no_listener_outlives_its_migration(agent: Agent, action: str) -> None:
    agent.program(LISTENS)
    agent("start")
    agent("migrate_to")
    listener = agent.listener()
    agent.program("print('listening')")
    assert agent(action) == SUCCESS
    assert not runs(listener)
    assert action == "migrate_to" or not agent.file.exists()


def test_somebody_elses_process_is_left_alone(agent: Agent) -> None:
    """The number in a file that was left behind may be another process's by now."""
    with subprocess.Popen(["sleep", "60"]) as other:
        agent.file.write_text(f"{other.pid}\n")
        assert agent("stop") == SUCCESS
        assert other.poll() is None
        other.kill()


def test_migrate_to_fails_where_there_is_nothing_to_give(agent: Agent) -> None:
    agent.program(LISTENS)
    assert agent("migrate_to") == GENERIC
    assert not agent.file.exists()


def test_migrate_to_fails_where_nothing_listens(agent: Agent) -> None:
    agent.program("raise SystemExit('no such device')")
    agent("start")
    assert agent("migrate_to") == GENERIC
    assert agent.held.exists()


def test_migrate_from_announces_what_it_has_taken(agent: Agent) -> None:
    agent.program("import sys\nassert sys.argv[1:] == ['take', 'dmz', '192.168.4.20', '24']")
    assert agent("migrate_from") == SUCCESS
    assert agent.announced() == ["5"]


def test_migrate_from_that_got_nothing_fails_and_adds_nothing(agent: Agent) -> None:
    agent.program("raise SystemExit('nobody has the address')")
    assert agent("migrate_from") == GENERIC
    assert not agent.held.exists()
    assert agent.guest.calls() == []


def test_settings_are_looked_at(agent: Agent) -> None:
    for action in ("start", "migrate_to", "migrate_from", "validate-all"):
        assert agent(action, OCF_RESKEY_nic="") == ARGS
        assert agent(action, OCF_RESKEY_cidr_netmask="many") == ARGS
        assert agent(action, RACKBOX_SEND_ARP="/nowhere") == INSTALLED
    assert agent("validate-all") == SUCCESS
    assert agent("promote") == UNIMPLEMENTED


def test_meta_data_is_xml_with_every_action(agent: Agent) -> None:
    argv = [str(agent.guest.root / AGENT), "meta-data"]
    done = subprocess.run(argv, env=agent.guest.environment, capture_output=True, timeout=10, check=True)
    actions = {action.get("name") for action in ElementTree.fromstring(done.stdout).iter("action")}
    assert actions == {"start", "stop", "monitor", "migrate_to", "migrate_from", "meta-data", "validate-all"}

"""The fence agent speaks the FenceAgentAPI, and a controller that sleeps is woken, and no other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rackbox.paths import PROJECT

AGENT = PROJECT / "provision/lb/files/usr/sbin/fence_rackbox"
FAKE_CURL = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$ROOT/asked"
case $* in
  *--request*GET*/v1/list) echo 'lb1 lb2' ;;
  *--request*GET*/status) cat "$ROOT/power" ;;
  *--request*POST*/v1/lb9/*) echo 'curl: (22) 404' >&2; exit 22 ;;
  *) echo off ;;
esac
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/rackbox").mkdir(parents=True)
    (tmp_path / "etc/rackbox/env").write_text("RACKBOX_FENCE_URL=https://192.0.2.1:8406\n")
    curl = tmp_path / "bin/curl"
    curl.parent.mkdir()
    curl.write_text(FAKE_CURL)
    curl.chmod(0o755)
    return tmp_path


def fence(root: Path, options: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "RACKBOX_ROOT": str(root), "ROOT": str(root)}
    return subprocess.run(
        ["bash", AGENT], input=options, env=environment, capture_output=True, text=True, timeout=20, check=False
    )


def asked(root: Path) -> str:
    path = root / "asked"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("action", ["off", "on", "reboot"])
@pytest.mark.parametrize("key", ["port", "plug", "nodename"])
def test_an_action_is_asked_for(root: Path, action: str, key: str) -> None:
    result = fence(root, f"action={action}\n{key}=lb2\n")
    assert result.returncode == 0, result.stderr
    assert asked(root).count("\n") == 1
    assert f"--request POST --cacert {root}/etc/haproxy/pki/ca.pem" in asked(root)
    assert asked(root).endswith(f"https://192.0.2.1:8406/v1/lb2/{action}\n")


def test_what_pacemaker_sends_by_default_is_a_reboot(root: Path) -> None:
    assert fence(root, "port=lb1\nunknown=1\n").returncode == 0
    assert asked(root).endswith("/v1/lb1/reboot\n")


def test_a_refusal_is_a_failure(root: Path) -> None:
    assert fence(root, "action=off\nport=lb9\n").returncode != 0


def test_status_says_off_by_its_exit_code(root: Path) -> None:
    (root / "power").write_text("on\n")
    assert fence(root, "action=status\nport=lb2\n").returncode == 0
    (root / "power").write_text("off\n")
    assert fence(root, "action=status\nport=lb2\n").returncode == 2


def test_list_and_monitor(root: Path) -> None:
    assert fence(root, "action=list\n").stdout.split() == ["lb1", "lb2"]
    result = fence(root, "action=monitor\n")
    assert (result.returncode, result.stdout) == (0, "")


def test_metadata_is_what_it_does(root: Path) -> None:
    found = ElementTree.fromstring(fence(root, "action=metadata\n").stdout)
    actions = {action.get("name") for action in found.iter("action")}
    assert actions == {"on", "off", "reboot", "status", "monitor", "list", "metadata", "validate-all"}
    assert asked(root) == ""


def test_an_unknown_action_asks_nobody(root: Path) -> None:
    result = fence(root, "action=explode\nport=lb2\n")
    assert result.returncode == 1
    assert "must be on, off, reboot" in result.stderr
    assert asked(root) == ""

"""How the balancers are told that a machine is back: the script that does it, against a HAProxy that is none."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rackbox.handover import welcome
from tests.rendering import shipped

SOCAT = """
read -r line
case $line in
  'show servers state')
    printf '3 etcd %s 192.168.1.12 2\n' '1 master1' '2 master2' '4 master1-unchecked' '5 master2-unchecked' ;;
  'set server'*) echo "$line" >>"$STATE/asked" ;;
esac
"""


class PretendLab:
    """The default lab, whose balancers run what they are told to on this computer; ``active`` have a HAProxy."""

    def __init__(self, tmp_path: Path, active: tuple[str, ...]) -> None:
        self.topology = shipped("default")
        self.connections = self
        self._top, self._active = tmp_path, active

    def machine(self, _: str) -> Any:
        return SimpleNamespace(is_running=lambda: True)

    def run(self, name: str, script: str, *, timeout: float, check: bool) -> Any:
        top = self._top / name
        (top / "bin").mkdir(parents=True)
        programs = {"systemctl": f"exit {0 if name in self._active else 3}", "socat": SOCAT}
        for program, body in programs.items():
            (top / "bin" / program).write_text(f"#!/bin/bash\n{body}\n")
            (top / "bin" / program).chmod(0o755)
        env = {"PATH": f"{top / 'bin'}:/usr/bin:/bin", "STATE": str(top)}
        argv = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout, check=check)
        return SimpleNamespace(ok=done.returncode == 0, stderr=done.stderr)

    def asked(self, name: str) -> str:
        path = self._top / name / "asked"
        return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("active", [("lb1", "lb2"), ("lb2",)])
def test_every_balancer_with_a_haproxy_is_told(active: tuple[str, ...], tmp_path: Path) -> None:
    """With `haproxy.runs_on: holder` there is one only where the floating IP is."""
    lab: Any = PretendLab(tmp_path, active)
    welcome(lab, lab.topology.node("master2"))
    told = "set server etcd/master2 state ready\nset server etcd/master2-unchecked state ready\n"
    assert {name: lab.asked(name) for name in ("lb1", "lb2")} == {
        name: told if name in active else "" for name in ("lb1", "lb2")
    }

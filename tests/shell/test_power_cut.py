"""What cuts a virtual machine's power kills its own QEMU, and no process that has got its number."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rackbox.providers.libvirt import only_own
from rackbox.providers.placed import KILL_SCRIPT
from tests.rendering import shipped

SLEEP = "import time; time.sleep(60)"
OWN = only_own(shipped("small").node("lb1"))


@pytest.mark.parametrize(
    ("program", "name", "killed"),
    [
        ("qemu-system-x86_64", "guest=lb1,debug-threads=on", True),
        ("qemu-system-x86_64", "guest=lb10,debug-threads=on", False),
        ("/usr/sbin/libvirtd", "--daemon", True),  # its child, which is to become QEMU
        ("editor", "notes-on-guest=lb1,", False),
    ],
)
def test_only_the_machine_s_own_process_is_killed(program: str, name: str, killed: bool) -> None:
    argv = [program, "-c", SLEEP, "-name", name]
    with subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.DEVNULL) as process:
        try:
            subprocess.run(["bash", "-euc", f"pid={process.pid}\n{OWN}\n{KILL_SCRIPT}"], timeout=20, check=True)
            if killed:
                assert process.wait(5) == -9
            else:
                assert process.poll() is None
        finally:
            process.kill()


def test_one_that_is_about_to_end_is_waited_for() -> None:
    """It has no command line any more: its pid is kept, and what kills sees it gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        script = f'pid={process.pid}\n{OWN}\n[ -n "$pid" ]\n{KILL_SCRIPT}'
        subprocess.run(["bash", "-euc", script], timeout=20, check=True)


@pytest.mark.parametrize("pid", ["", "none", "0"])
def test_without_a_process_there_is_nothing_to_do(pid: str) -> None:
    done = subprocess.run(
        ["bash", "-euc", f"pid={pid}\n{OWN}\n{KILL_SCRIPT}"], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

"""What cuts a virtual machine's power kills its own QEMU, and no process that has got its number."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rackbox.providers.libvirt import kill_script
from tests.rendering import shipped

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)", "-name"]


@pytest.mark.parametrize(
    ("name", "killed"),
    [("guest=lb1,debug-threads=on", True), ("guest=lb10,debug-threads=on", False), ("process=lb1,", False)],
)
def test_only_the_machine_s_own_process_is_killed(name: str, killed: bool) -> None:
    script = kill_script(shipped("small").node("lb1"))
    with subprocess.Popen([*SLEEP, name]) as process:
        try:
            subprocess.run(["bash", "-euc", f"pid={process.pid}\n{script}"], timeout=20, check=True)
            if killed:
                assert process.wait(5) == -9
            else:
                assert process.poll() is None
        finally:
            process.kill()


@pytest.mark.parametrize("pid", ["", "none", "0"])
def test_without_a_process_there_is_nothing_to_do(pid: str) -> None:
    script = kill_script(shipped("small").node("lb1"))
    done = subprocess.run(
        ["bash", "-euc", f"pid={pid}\n{script}"], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

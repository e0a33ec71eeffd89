"""SSH to machines: one kept connection each (OpenSSH's ControlMaster), so a command costs milliseconds.

Host keys are made before boot and known from the first connection on; nothing is trusted on first use. Entry points:
``Connections``, and ``command`` and ``shell`` for the tasks.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rackbox.errors import MachineError
from rackbox.paths import LabPaths
from rackbox.run import Result, run

Wrap = Callable[[Sequence[str]], list[str]]

CONNECT_SECONDS = 5


def ssh_options(patience: float) -> tuple[str, ...]:
    """OpenSSH's, for machines that take ``patience`` times as long as containers."""
    return (
        "BatchMode=yes",
        f"ConnectTimeout={CONNECT_SECONDS * patience:.0f}",
        # A machine that is gone without a word ends its connection after six seconds.
        f"ServerAliveInterval={2 * patience:.0f}",
        "ServerAliveCountMax=3",
    )


def sockets(paths: LabPaths) -> Path:
    """Control sockets: under /run, because a socket's path may have 107 characters at most (unix(7))."""
    return paths.runtime / "ssh"


class Connections:
    """The kept connections of one lab. ``wrap`` makes a command run where the management network is."""

    def __init__(self, paths: LabPaths, wrap: Wrap, patience: float = 1.0) -> None:
        self._paths = paths
        self._wrap = wrap
        self._patience = patience

    def argv(self, name: str, *options: str) -> list[str]:
        """An ssh command line for a machine, without what is to be run."""
        common = [word for option in ssh_options(self._patience) for word in ("-o", option)]
        control = f"ControlPath={sockets(self._paths) / name}"
        config = str(self._paths.rendered / "ssh_config")
        return self._wrap(["ssh", "-F", config, *common, "-o", control, *options, name])

    def open(self, name: str) -> bool:
        """Keep a connection to a machine, if it answers within a few seconds. True when there is one."""
        socket = sockets(self._paths) / name
        if self._is_open(name):
            return True
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        socket.unlink(missing_ok=True)
        # The master outlives this command. Its output must not be our pipe, or whoever reads that would wait for it.
        process = subprocess.Popen(  # noqa: S603 - an argv list; the kept connection outlives us
            self.argv(name, "-M", "-N"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + CONNECT_SECONDS * self._patience + 1
        while time.monotonic() < deadline:
            if socket.exists():
                self._pid_file(name).write_text(str(process.pid))
                return True
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        process.kill()
        process.wait()
        return False

    def close(self, name: str) -> None:
        """End a machine's kept connection, without asking the machine: it may be gone. Idempotent."""
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int(self._pid_file(name).read_text())
            if b"ssh" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        self._pid_file(name).unlink(missing_ok=True)
        (sockets(self._paths) / name).unlink(missing_ok=True)

    def run(self, name: str, script: str, *, timeout: float, check: bool = True) -> Result:
        """Run a bash script as root in a machine, bounded there and here. The script travels on standard input."""
        if not self.open(name):
            raise MachineError(f"{name}: does not answer by SSH", f"look at `./lab status` and {self._paths.logs}")
        inside = f"sudo -n timeout --signal=KILL {timeout:g} bash -euo pipefail -s"
        return run([*self.argv(name), inside], timeout=timeout + 5, check=check, input=script)

    def stream_argv(self, name: str) -> list[str]:
        """An ssh command line that runs, as root and on a connection of its own, the command appended to it."""
        common = [word for option in ssh_options(self._patience) for word in ("-o", option)]
        config = str(self._paths.rendered / "ssh_config")
        return self._wrap(["ssh", "-F", config, *common, "-o", "ControlPath=none", "-T", name, "sudo", "-n", "--"])

    def follow(self, name: str, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command in a machine whose output is read line by line as it comes. The caller ends it."""
        return subprocess.Popen(  # noqa: S603 - an argv list; read while it runs
            [*self.argv(name), shlex.join(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def _is_open(self, name: str) -> bool:
        try:
            pid = int(self._pid_file(name).read_text())
            os.kill(pid, 0)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return False
        return (sockets(self._paths) / name).exists()

    def _pid_file(self, name: str) -> Path:
        return sockets(self._paths) / f"{name}.pid"


def command(lab_file: Path, name: str, argv: Sequence[str]) -> int:
    """`invoke ssh NODE [-- COMMAND …]`: the command's own exit code."""
    from rackbox.lab import open_lab

    lab = open_lab(lab_file)
    lab.require_node(name)
    lab.require_up()
    terminal = ["-t"] if not argv and sys.stdin.isatty() else []
    line = lab.connections.argv(name, *terminal) + ([shlex.join(argv)] if argv else [])
    # The user's own terminal and no time limit, which `run` would not give.
    return subprocess.run(line, check=False).returncode  # noqa: S603 - an argv list


def shell(lab_file: Path, argv: Sequence[str]) -> int:
    """`invoke shell [-- COMMAND …]`: where the lab's clients stand, with the lab's credentials at hand."""
    from rackbox.lab import open_lab

    lab = open_lab(lab_file)
    lab.require_up()
    environment = os.environ | lab.client_environment()
    line = lab.client_argv(argv or [environment.get("SHELL", "/bin/bash")])
    return subprocess.run(line, check=False, env=environment).returncode  # noqa: S603 - as in `command`

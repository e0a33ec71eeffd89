"""python-vagrant, with what it lacks: a log file for every call, a time limit, an end on Ctrl-C, and the lab's place.

Its defaults hide all output, wait for ever and leave Vagrant running when Python is interrupted.
Entry point: ``VagrantAdapter``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import vagrant

from rackbox.errors import CommandFailed, MissingTool
from rackbox.run import Result, describe

UP_TIMEOUT = 900.0
"""Seconds for one `vagrant up` of all machines: creating, booting, first SSH."""
OTHER_TIMEOUT = 240.0

PROC = Path("/proc")

Wrap = Callable[[Sequence[str]], list[str]]


_STACK_LINE = re.compile(r"\.rb:\d+:in [`'].*'$")  # Ruby's, whose quotes changed with 3.4


class _BoundedVagrant(vagrant.Vagrant):
    """Starts every vagrant command through ``wrap``, in a session of its own that can be ended as a whole."""

    def __init__(self, root: Path, wrap: Wrap, env: Mapping[str, str], log: Path) -> None:
        super().__init__(root=str(root), env=dict(env), err_cm=vagrant.make_file_cm(str(log), mode="a"))
        self.wrap = wrap
        self.log = log
        self.timeout = OTHER_TIMEOUT
        self.pid_file = root / "vagrant.pid"
        self.process: subprocess.Popen[bytes] | None = None

    def _make_vagrant_command(self, args: Sequence[str | None]) -> list[str]:
        return self.wrap(["vagrant", *(arg for arg in args if arg is not None)])

    def _call_vagrant_command(self, args: Sequence[str | None]) -> None:
        command = self._make_vagrant_command(args)
        self._end_stray()
        with self.log.open("ab") as stream:
            start = stream.tell()
            stream.write(f"$ vagrant {' '.join(arg for arg in args if arg)}\n".encode())
            stream.flush()
            try:
                self.process = subprocess.Popen(  # noqa: S603 - an argv list; kept, so that Ctrl-C can end it
                    command,
                    cwd=self.root,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                    # A machine's own root directory is made below: with 077, only root could work in the machine.
                    umask=0o022,
                )
            except FileNotFoundError as error:
                raise MissingTool(f"{command[0]}: not found", "run `./lab doctor`") from error
            self.pid_file.write_text(str(self.process.pid))
            try:
                code = self.process.wait(self.timeout)
            except subprocess.TimeoutExpired as error:
                self.stop()
                result = Result(tuple(command), -signal.SIGKILL, _read_from(self.log, start), "", self.timeout)
                raise CommandFailed(describe(result, self.log, end=f"no end after {self.timeout:g} s")) from error
            except BaseException:
                self.stop()
                raise
            finally:
                self.process = None
                self.pid_file.unlink(missing_ok=True)
        if code != 0:
            result = Result(tuple(command), code, _read_from(self.log, start), "", 0.0)
            raise CommandFailed(describe(result, self.log))

    def _end_stray(self) -> None:
        """End a vagrant whose caller was killed: it works on, and holds Vagrant's locks on the machines."""
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int(self.pid_file.read_text())
            if b"vagrant" in (PROC / str(pid) / "cmdline").read_bytes():
                os.killpg(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End a vagrant that is under way: first as Ctrl-C would, then for good."""
        process = self.process
        if process is None:
            return
        for number, patience in ((signal.SIGINT, 10), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                return


class VagrantAdapter:
    """Vagrant for one lab. ``root`` holds the Vagrantfile; dotfiles stand beside it, so nothing is left elsewhere.
    ``patience`` is the provider's: the factor of the limit for booting."""

    def __init__(
        self, root: Path, *, vagrant_home: Path, provider: str, log: Path, wrap: Wrap, patience: float = 1.0
    ) -> None:
        for directory in (root, vagrant_home, log.parent):
            directory.mkdir(parents=True, exist_ok=True)
        # A bare environment: what the user's shell has set reaches neither Vagrant nor the machines it starts.
        env = {
            "HOME": str(vagrant_home),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "VAGRANT_HOME": str(vagrant_home),
            "VAGRANT_CWD": str(root),
            "VAGRANT_DOTFILE_PATH": str(root / ".vagrant"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
        }
        self._provider = provider
        self._patience = patience
        self._boxes = vagrant_home / "boxes"
        self._vagrant = _BoundedVagrant(root, wrap, env, log)

    def up(self, names: Sequence[str]) -> None:
        """Create and boot these machines, in parallel where the provider can. Machines that run are left alone."""
        with self._limit(UP_TIMEOUT * self._patience):
            self._vagrant.up(provider=self._provider, vm_name=_one_of(names), provision=False)

    def destroy(self, names: Sequence[str]) -> None:
        self._vagrant.destroy(vm_name=_one_of(names))

    def validate(self) -> None:
        """Let Vagrant parse the Vagrantfile."""
        self._vagrant._call_vagrant_command(["validate"])

    def add_box(self, name: str, metadata: Path, version: str) -> None:
        """Install a version of a box from a catalogue (a Vagrant ``metadata.json``); its checksum is checked."""
        options = ["--force", "--provider", self._provider, "--box-version", version]
        with self._limit(UP_TIMEOUT):
            self._vagrant._call_vagrant_command(["box", "add", name, metadata.as_uri(), *options])

    def has_box(self, name: str, version: str) -> bool:
        """Whether Vagrant has that version installed. Its directory says so at once, `vagrant box list` in a second."""
        return (self.box_directory(name, version) / "metadata.json").exists()

    def box_directory(self, name: str, version: str) -> Path:
        """Where Vagrant keeps an installed box, unpacked."""
        return self._boxes / name.replace("/", "-VAGRANTSLASH-") / version / self._provider

    def stop(self) -> None:
        """End a call that is under way in another thread (Ctrl-C)."""
        self._vagrant.stop()

    @contextmanager
    def _limit(self, seconds: float) -> Iterator[None]:
        self._vagrant.timeout = seconds
        try:
            yield
        finally:
            self._vagrant.timeout = OTHER_TIMEOUT


def _read_from(log: Path, start: int) -> str:
    """What was logged since, without the stack of an exception: its message comes before, and would be cut off."""
    text = log.read_bytes()[start:].decode(errors="replace")
    return "".join(line for line in text.splitlines(keepends=True) if not _STACK_LINE.search(line))


def _one_of(names: Sequence[str]) -> str:
    """Vagrant takes a name or a /pattern/, python-vagrant one argument: a pattern that matches just these names."""
    return "/^(" + "|".join(re.escape(name) for name in names) + ")$/"

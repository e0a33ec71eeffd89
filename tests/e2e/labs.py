"""A lab under test: its file, its command line, and the questions that tests ask it. Entry point: ``LabUnderTest``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rackbox.lab import LiveLab, open_lab
from rackbox.paths import PROJECT
from rackbox.run import Result, describe, run

HERE = Path(__file__).parent
UP_SECONDS = 240.0
BUILD_SECONDS = 600.0
DOWN_SECONDS = 90.0

# When a machine's first process was started, in kernel ticks: another number after each boot, the same in between.
# (The kernel's boot_id would be the host's, in a container.)
BOOT = "cut -d' ' -f22 /proc/1/stat"


def environment() -> dict[str, str]:
    """The caller's, with nothing that chooses another lab or colours the output."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RACKBOX_LAB", "INVOKE_RUNTIME_CONFIG")}
    return {**kept, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


def program_argv(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "rackbox.program", *words]


@dataclass(frozen=True, slots=True)
class LabUnderTest:
    """``file`` is the lab's YAML, which tests may rewrite."""

    file: Path

    @property
    def live(self) -> LiveLab:
        """The lab as its file describes it now."""
        return open_lab(self.file)

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        config = yaml.safe_load(self.file.read_text())
        change(config)
        self.file.write_text(yaml.safe_dump(config, sort_keys=False))

    # --- the command line

    def cli(self, task: str, *words: str, code: int | None = 0, timeout: float = 60.0) -> Result:
        """Run ``./lab TASK --lab FILE …`` to its end. ``code`` is the exit code that it must have; None: any."""
        result = run(self._argv(task, *words), timeout=timeout, check=False, env=environment(), cwd=PROJECT)
        assert code is None or result.returncode == code, describe(result)
        return result

    def up(self, *words: str, code: int | None = 0, timeout: float = UP_SECONDS) -> Result:
        return self.cli("up", *words, code=code, timeout=timeout)

    def down(self, *words: str) -> Result:
        return self.cli("down", *words, timeout=DOWN_SECONDS)

    def status(self, code: int | None = 0) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.cli("status", "--json", code=code).stdout)
        return document

    @contextmanager
    def start(self, task: str, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The same under way, in a process group of its own, standard error readable; ended with the block."""
        process = subprocess.Popen(
            self._argv(task, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=PROJECT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGINT)
                    process.wait(60)
            process.kill()
            process.communicate(timeout=10)

    def _argv(self, task: str, *words: str) -> list[str]:
        mine = words[: words.index("--")] if "--" in words else words
        return program_argv(task, *mine, "--lab", str(self.file), *words[len(mine) :])

    # --- machines

    def names(self, *roles: str) -> list[str]:
        return [node.name for node in self.live.topology.nodes if not roles or node.role in roles]

    def run(self, name: str, script: str, *, timeout: float = 20.0, check: bool = True) -> Result:
        return self.live.machine(name).run(script, timeout=timeout, check=check)

    def on_each(self, names: Iterable[str], script: str, *, timeout: float = 30.0) -> dict[str, str]:
        """What the script prints on each of these machines, at the same time."""
        lab, chosen = self.live, list(names)
        with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
            said = pool.map(lambda name: lab.machine(name).run(script, timeout=timeout).stdout.strip(), chosen)
            return dict(zip(chosen, said, strict=True))

    def boots(self) -> dict[str, str]:
        return self.on_each(self.names(), BOOT)

    def power_off(self, names: Iterable[str]) -> None:
        """Pull the plug of all of them at the same time."""
        lab, chosen = self.live, list(names)
        with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
            list(pool.map(lambda name: lab.machine(name).power_off(), chosen))

    # --- clients

    def client(self, argv: Sequence[str], *, timeout: float = 15.0, check: bool = True) -> Result:
        """Run a program where the lab's clients stand."""
        return run(self.live.client_argv(argv), timeout=timeout, check=check, env=environment())

    def etcd(self, url: str, *words: str, identity: Path | None = None, check: bool = True) -> Result:
        """Read or write etcd by HTTPS, trusting the lab's CA alone. ``identity``: where the client's certificate is;
        by default the lab's own."""
        secrets = self.live.paths.secrets
        own = secrets if identity is None else identity
        argv = [sys.executable, "-P", str(HERE / "etcd_client.py"), url, str(secrets / "ca.pem"), str(own), *words]
        return self.client(argv, check=check)

    @property
    def floating_ip(self) -> str:
        balancer = self.live.topology.load_balancer
        assert balancer is not None
        return str(balancer.floating_ip.address.ip)

    @property
    def etcd_url(self) -> str:
        return f"https://{self.floating_ip}:2379"


def derive_lab(shipped: str, name: str, file: Path, changes: Mapping[str, Any]) -> LabUnderTest:
    """A shipped lab under another name and with ``changes`` to its top level keys."""
    config = yaml.safe_load((PROJECT / "config" / f"{shipped}.yaml").read_text())
    file.write_text(yaml.safe_dump({**config, "name": name, **changes}, sort_keys=False))
    return LabUnderTest(file)

"""What the rest of rackbox may ask of a live machine and of a live lab. Protocols only.

A fake that satisfies these lets scenario → history → verdict run without a machine (``tests/fakes.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rackbox.paths import LabPaths
from rackbox.run import Result
from rackbox.topology import Node, Topology


class Machine(Protocol):
    """A machine that can be talked to, and whose power can be pulled."""

    @property
    def node(self) -> Node: ...

    def run(self, script: str, *, timeout: float = 10.0, check: bool = True) -> Result:
        """Run a bash script as root in the guest under ``set -euo pipefail``, for at most ``timeout`` seconds."""
        ...

    def stream_argv(self) -> list[str]:
        """An argv for this computer that runs the shell command appended to it as root in the guest, on a connection of
        its own; its standard input and output are the command's. It ends when the machine has been silent for 6 s."""
        ...

    def power_off(self) -> None:
        """Pull the plug: links are cut first, then everything is killed; nothing says goodbye. Idempotent."""
        ...

    def power_on(self) -> None:
        """Put the plug back and return once the machine has been started. Idempotent. A cluster's node in a
        container boots with what the others leave of the processors, until ``Lab.wait_healthy`` has seen all well."""
        ...

    def is_running(self) -> bool:
        """Whether it has power; a frozen machine has."""
        ...

    def freeze(self) -> None:
        """Stop every process between two instructions (or the whole machine, where the provider can). Idempotent."""
        ...

    def thaw(self) -> None:
        """Let it go on. Idempotent, and harmless on a machine without power."""
        ...

    def is_frozen(self) -> bool: ...


class Lab(Protocol):
    """A lab that is up."""

    @property
    def topology(self) -> Topology: ...

    @property
    def paths(self) -> LabPaths: ...

    def machine(self, name: str) -> Machine: ...

    def client_argv(self, argv: Sequence[str]) -> list[str]:
        """``argv`` wrapped so that it runs at the client's place (the lab's network namespace, or the host)."""
        ...

    def wait_healthy(self, timeout: float) -> object:
        """Return when the lab's verdict is healthy; raise ``WaitTimeout`` with what is not, otherwise."""
        ...

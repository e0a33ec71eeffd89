"""A lock that is waited for, between commands that share something for a moment. Entry point: ``hold_lock``.

A lab as a whole is never waited for: see ``lab.lab_lock``.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold ``path`` against other processes, after them if need be. The file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

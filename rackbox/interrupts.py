"""Ctrl-C and SIGTERM, let in only where it is safe.

Inside ``Interrupts`` both are held back, and raised as ``KeyboardInterrupt`` within ``allowed()`` (waits, mostly) or,
at the latest, at the end. So nothing can break into the moment between a fault's injection and the note that it must be
healed, nor into the healing. Everything outside of ``allowed()`` must therefore be short or bounded.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Use as a context manager in the main thread; elsewhere (no signals arrive there) it does nothing."""

    def __init__(self) -> None:
        self._open = 0
        self._pending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._arrived) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if kind is None:
            self._raise_pending()

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Here an interrupt may be raised, one that came earlier at once."""
        self._open += 1
        try:
            self._raise_pending()
            yield
        finally:
            self._open -= 1

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self._pending = True
        if self._open:
            self._raise_pending()

    def _raise_pending(self) -> None:
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

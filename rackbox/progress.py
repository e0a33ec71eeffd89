"""What a person sees while a lab comes up: steps with ✓ or ✗ and their time, and one line a machine while they boot.

On a terminal the machines' lines are redrawn in place; elsewhere each change is a line of its own, so that a log reads
well, too. Entry points: ``Steps``, ``MachineBoard``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
_MARK = {WAITING: "[dim]·[/]", RUNNING: "[cyan]▸[/]", DONE: "[green]✓[/]", FAILED: "[red]✗[/]"}


class Steps:
    """Prints named steps as they end."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self._print("[red]✗[/]", name, time.monotonic() - started)
            raise
        self._print("[green]✓[/]", name, time.monotonic() - started)

    def _print(self, mark: str, name: str, seconds: float) -> None:
        self.console.print(f"{mark} {escape(name)}  [dim]{seconds:.1f} s[/]", emoji=False, soft_wrap=True)


class MachineBoard:
    """The live state of every machine. ``update`` may be called from any thread."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._rows = dict.fromkeys(names, (WAITING, "starting", 0.0))
        self._live = Live(self, console=console, refresh_per_second=5, transient=True) if console.is_terminal else None

    def __enter__(self) -> MachineBoard:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            if self._rows:
                self._console.print(self)

    def update(self, name: str, state: str, text: str) -> None:
        elapsed = time.monotonic() - self._started
        with self._lock:
            changed = self._rows[name][:2] != (state, text)
            self._rows[name] = (state, text, elapsed)
        if changed and self._live is None and state in (DONE, FAILED):
            line = f"{_MARK[state]} {name:<10} {escape(text)}  [dim]{elapsed:.1f} s[/]"
            self._console.print(line, emoji=False, soft_wrap=True)

    def unfinished(self) -> list[str]:
        with self._lock:
            return [name for name, (state, _, _) in self._rows.items() if state != DONE]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, show_header=False, pad_edge=False)
        with self._lock:
            rows = list(self._rows.items())
        now = time.monotonic() - self._started
        for name, (state, text, when) in rows:
            elapsed = when if state in (DONE, FAILED) else now
            table.add_row(_MARK[state], name, Text(text), f"[dim]{elapsed:.1f} s[/]")
        yield table

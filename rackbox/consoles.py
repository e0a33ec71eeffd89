"""The consoles that rackbox prints on. Entry point: ``open_console``.

Standard output is for what was asked for, standard error for progress and chatter. Into a file or a pipe, tables are as
wide as they need to be: nobody wants names cut at the 80 columns of a terminal that is not there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from rich.console import Console

WIDTH = 120
"""Columns where there is no terminal to ask, unless $COLUMNS says more."""


def open_console(*, stderr: bool = False, env: Mapping[str, str] = os.environ) -> Console:
    """A console on standard output, or on standard error. It colours nothing but what we mark."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        columns = env.get("COLUMNS", "")
        console = Console(stderr=stderr, highlight=False, width=max(WIDTH, int(columns) if columns.isdigit() else 0))
    return console

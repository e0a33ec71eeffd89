"""The one way to wait: a deadline on the monotonic clock and the last evidence in the error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from rackbox.errors import WaitTimeout

T = TypeVar("T")


class NotYet(Exception):
    """Raised by a probe function to say: not there yet, and this is what was seen."""


def wait_for(what: str, probe: Callable[[], T], *, timeout: float, interval: float = 0.1, hint: str = "") -> T:
    """Call ``probe`` until it returns, at most ``timeout`` seconds.

    ``probe`` raises ``NotYet(evidence)`` to be asked again; any other exception ends the wait at once (a terminal
    state fails at once). Raises ``WaitTimeout`` with the last evidence.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return probe()
        except NotYet as last:
            if time.monotonic() + interval > deadline:
                raise WaitTimeout(f"{what}: not within {timeout:g} s; last seen: {last}", hint) from last
        time.sleep(interval)

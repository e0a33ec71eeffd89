"""Watchers: what a machine itself says, as it happens, beside what the probes see from outside.

One for now: ``addresses``, whether each balancer holds the floating IP. Entry point: ``start_watchers``.
"""

from __future__ import annotations

from rackbox.watchers.process import Watchers, start_watchers

__all__ = ["Watchers", "start_watchers"]

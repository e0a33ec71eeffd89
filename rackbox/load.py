"""From a file to a topology in one call: ``load_topology``.

A module of its own, because ``config`` imports the types of ``topology`` and not the other way round.
"""

from __future__ import annotations

from pathlib import Path

from rackbox.config import Config, load_config
from rackbox.planner import plan_topology
from rackbox.topology import Topology


def load_lab(path: Path) -> tuple[Config, Topology]:
    """The lab at ``path`` as it was written and as what it means. Raises ``ConfigError``."""
    config = load_config(path)
    return config, plan_topology(config)


def load_topology(path: Path) -> Topology:
    """What the lab at ``path`` means. Raises ``ConfigError``."""
    return load_lab(path)[1]

"""From a file to a topology in one call: ``load_topology``; and what becomes of it on this computer:
``settle_kubernetes``.

A module of its own, because ``config`` imports the types of ``topology`` and not the other way round.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from rackbox.config import Config, load_config
from rackbox.planner import plan_topology
from rackbox.release import Choice, choose_release, describe_ingress, describe_storage
from rackbox.state import LabState
from rackbox.topology import Kubernetes, Topology


def load_lab(path: Path) -> tuple[Config, Topology]:
    """The lab at ``path`` as it was written and as what it means. Raises ``ConfigError``."""
    config = load_config(path)
    return config, plan_topology(config)


def load_topology(path: Path) -> Topology:
    """What the lab at ``path`` means. Raises ``ConfigError``."""
    return load_lab(path)[1]


def settle_kubernetes(
    config: Config, topology: Topology, lab_file: Path, bundles: Path, state: LabState | None
) -> tuple[Topology, Choice | None]:
    """The topology with the cluster that can be had here, or without one, and the choice that led to it; no choice
    where none was asked for. Raises ``LabError`` where what was asked for cannot be had.

    A lab that has machines stays with what they were booted with.
    """
    if topology.kubernetes is None:
        return topology, None
    booted = state if state is not None and state.phase not in ("absent",) else None
    bundle = booted.bundle if booted else ""
    reachable = partial(_can_fetch, topology.kubernetes)
    choice = choose_release(topology.kubernetes, lab_file, bundles, bundle, reachable)
    if choice.source == "none":
        return plan_topology(config.without_kubernetes()), choice
    release = choice.release
    if release is not None:
        storage, ingress = describe_storage(release, topology.gluster_volume), describe_ingress(release, topology)
        choice = replace(choice, storage=storage, ingress=ingress)
        if topology.has_ingress and not release.has_ingress:
            topology = plan_topology(config.without_ingress())
    return topology, choice


def _can_fetch(wished: Kubernetes) -> bool:
    from rackbox.package_source import can_fetch  # HTTP and more, which few need

    return can_fetch(wished)

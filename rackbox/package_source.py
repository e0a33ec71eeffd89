"""Kubernetes from its project's packages, fetched when a lab needs them: a bundle ``from: packages`` in the catalogue.

Entry points: ``can_fetch``, asked before anything is promised, and ``fetch_packages``.
"""

from __future__ import annotations

import requests
from rich.console import Console

from rackbox.bundle import machine_arch
from rackbox.bundle_pins import Pins, list_minors, load_pins
from rackbox.bundle_upstream import build_from_upstream, load_sources
from rackbox.errors import LabError
from rackbox.paths import Home
from rackbox.topology import Kubernetes

ANSWER_S = 2.0
"""Who only plans a lab waits no longer for an answer."""


def can_fetch(wished: Kubernetes) -> bool:
    """Whether the repository of the wanted minor answers. Never raises."""
    try:
        pins, sources = _pins_of(wished), load_sources()
        if not sources.packages:
            return False
        url = f"{sources.packages.format(minor=pins.minor)}/InRelease"
        return requests.head(url, timeout=ANSWER_S, allow_redirects=True).ok
    except (LabError, requests.RequestException):
        return False


def fetch_packages(home: Home, wished: Kubernetes, console: Console) -> None:
    """Have the bundle in the catalogue. Raises ``LabError`` with the first thing that is not as it must be."""
    docker = wished.runtime == "docker"
    build_from_upstream(home, _pins_of(wished), machine_arch(), load_sources(), console, packages=True, docker=docker)


def _pins_of(wished: Kubernetes) -> Pins:
    """The versions of the wanted minor. A release is wanted exactly."""
    pins = load_pins(".".join(wished.version.split(".")[:2]))
    if wished.version.count(".") == 2 and pins.kubernetes != wished.version:
        there = ", ".join(load_pins(minor).kubernetes for minor in list_minors())
        raise LabError(f"kubernetes.version: must be one of {there} to be fetched; got {wished.version}")
    return pins

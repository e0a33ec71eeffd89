"""How long it takes to plan (and render) labs of 100, 300 and 1,000 machines: ``python benchmarks/bench_plan.py``.

Measured is everything from the YAML file to the topology, its JSON, its tables, and every file of every machine with
the lab's keys already made. All must stay linear: the last column is each step's cost per machine against the smallest
lab's. It asserts nothing. The goal is 2 s for 1,000 machines, rendering included.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console

from rackbox.credentials import Credentials, ensure_credentials
from rackbox.hooks import load_sources
from rackbox.load import load_topology
from rackbox.paths import Home
from rackbox.plan import plan_json, print_plan
from rackbox.providers.lxc import LxcProvider
from rackbox.render import VagrantTarget, render_lab, write_rendered
from rackbox.topology import Topology

SIZES = (100, 300, 1000)
ROUNDS = 5

LAB = """\
name: bench
networks:
  dmz: {{cidr: 10.4.0.0/20}}
  mast: {{cidr: 10.1.0.0/20}}
  node: {{cidr: 10.2.0.0/20}}
  glus: {{cidr: 10.3.0.0/20}}
nodes:
  gateway:
  lb:
  master: {{count: 5}}
  gluster: {{count: 9}}
  worker:
    names: [{names}]
"""


def write_lab(machines: int, directory: Path) -> Path:
    """A lab of ``machines``, its workers named one by one, so that there is YAML to read."""
    names = ", ".join(f"w{number:04}" for number in range(machines - 1 - 2 - 5 - 9))
    path = directory / f"{machines}.yaml"
    path.write_text(LAB.format(names=names))
    return path


def best(step: Callable[[], Any]) -> float:
    """The fewest seconds of several rounds: the others measure what else the computer does."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def print_json(topology: Topology) -> str:
    return json.dumps(plan_json(topology))


def show(topology: Topology) -> None:
    print_plan(topology, Console(file=io.StringIO(), width=100))


def render(topology: Topology, credentials: Credentials, directory: Path) -> None:
    """Every file of every machine, as `invoke render` makes it: rendered, and written where it has changed."""
    provider = LxcProvider()
    paths = Home(directory, directory).lab(topology.lab)
    lines = {node.name: provider.vagrant_settings(topology, node, paths) for node in topology.nodes}
    target = VagrantTarget("lxc", f"rackbox/{topology.os}", directory=directory)
    write_rendered(render_lab(topology, credentials, lines, load_sources(), target), directory / "rendered")


def main() -> None:
    from rackbox import __version__

    print(f"rackbox {__version__}, Python {sys.version.split()[0]}, best of {ROUNDS}")
    print(f"{'machines':>8}  {'step':<12} {'seconds':>8} {'µs each':>8} {'against smallest':>16}")
    smallest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        for machines in SIZES:
            path = write_lab(machines, Path(directory))
            topology = load_topology(path)
            # Keys and certificates are made once in a lab's life; making them is not rendering.
            home = Path(directory) / str(machines)
            credentials = ensure_credentials(topology, home / "secrets")
            steps: dict[str, Callable[[], Any]] = {
                "load + plan": partial(load_topology, path),
                "JSON": partial(print_json, topology),
                "tables": partial(show, topology),
                "render": partial(render, topology, credentials, home),
            }
            for name, step in steps.items():
                seconds = best(step)
                each = seconds / machines * 1e6
                ratio = each / smallest.setdefault(name, each)
                print(f"{machines:>8}  {name:<12} {seconds:>8.4f} {each:>8.1f} {ratio:>15.2f}×")


if __name__ == "__main__":
    main()

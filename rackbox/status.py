"""`invoke status`: the health of each machine and service and one verdict, in well under a second."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from rackbox.box import current_box
from rackbox.consoles import open_console
from rackbox.errors import EXIT_FAILED, EXIT_OK, LabError
from rackbox.forwarding import read_forwards
from rackbox.health import LabHealth, health_json
from rackbox.lab import LiveLab, open_lab
from rackbox.renewal import BoxesInUse, compare_boxes
from rackbox.show import write_json


def command(lab_file: Path, as_json: bool, out: Path | None) -> int:
    """0 healthy, 1 degraded, 3 not up."""
    lab = open_lab(lab_file)
    lab.require_up()
    health = lab.read_health()
    if as_json or out:
        forwards = {name: f"127.0.0.1:{port}" for name, port in read_forwards(lab).items()}
        boxes = _read_boxes(lab).document
        origin = {"kubernetes_source": lab.choice.words if lab.choice else None}
        write_json({**health_json(lab.topology, health), "forwards": forwards, "boxes": boxes, **origin}, out)
    if not as_json:
        print_health(lab, health, open_console())
    return EXIT_OK if health.verdict == "healthy" else EXIT_FAILED


def print_health(lab: LiveLab, health: LabHealth, console: Console) -> None:
    """One screen: a line a machine, what is wrong below it, the verdict and the ways in."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "machine", "address", "state"):
        table.add_column(column, no_wrap=column in ("machine", "address"), overflow="fold")
    for node in health.nodes:
        mark = "[green]✓[/]" if node.healthy else "[red]✗[/]"
        table.add_row(mark, node.name, node.address, node.summary)
        for problem in node.problems if node.problems != (node.summary,) else ():
            table.add_row("", "", "", f"[red]{problem}[/]")
        for warning in node.warnings:
            table.add_row("", "", "", f"[yellow]{warning}[/]")
    console.print(table)
    for problem in health.problems:
        console.print(f"[red]✗ {problem}[/]")
    colour = "green" if health.verdict == "healthy" else "red"
    count = sum(node.healthy for node in health.nodes)
    console.print(f"\n[{colour}]{health.verdict}[/]: {count} of {len(health.nodes)} machines", end="")
    balancer = lab.topology.load_balancer
    if balancer and health.floating_ip_holder:
        console.print(f", floating IP {balancer.floating_ip.address.ip} on {health.floating_ip_holder}", end="")
    console.print()
    if lab.choice is not None:
        seen = f"; {health.cluster.summary}" if health.cluster else ""
        console.print(f"Kubernetes {lab.choice.words}{seen}", soft_wrap=True)
    if (state := lab.state) and state.upgraded:
        bundle = Path(next(iter(state.upgraded.values()))).name
        names = ", ".join(sorted(state.upgraded))
        console.print(f"on bundle {bundle} already: {names}; `./lab upgrade` goes on", soft_wrap=True)
    boxes = _read_boxes(lab)
    for line in boxes.lines:
        console.print(line, soft_wrap=True)
    for name, port in read_forwards(lab).items():
        console.print(f"  {name:<6} 127.0.0.1:{port}", style="dim")


def _read_boxes(lab: LiveLab) -> BoxesInUse:
    """Without the catalogue (it may be broken, or be built at this moment), what the machines stand on is all."""
    try:
        current = current_box(lab.home.boxes, lab.topology.os, lab.provider.name)
    except LabError:
        current = None
    versions = lab.provider.box_versions(lab.topology, lab.paths)
    return compare_boxes(lab.topology, versions, current.version if current else None)

"""What a lab could leave behind on this computer, as data that can be compared. Entry point: ``host_traces``."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rackbox.limits import NEEDED, NO_AUTOGROUPS
from rackbox.run import run
from rackbox.shares import threads_of_group
from rackbox.topology import Topology

Traces = Mapping[str, frozenset[str]]


def host_traces() -> Traces:
    """Named network namespaces, links, mounts, control groups, rackbox's runtime files and processes, kernel limits."""
    links = json.loads(run(["ip", "-j", "link"], timeout=10).stdout)
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "namespaces": _listing(Path("/run/netns")),
        "links": frozenset(link["ifname"] for link in links),
        "mounts": frozenset(fields[4] for fields in mounts),
        "cgroups": frozenset(_cgroups()),
        "runtime": _listing(Path("/run/rackbox")),
        "processes": frozenset(_lab_processes()),
        "limits": frozenset(f"{name}={_read(Path('/proc/sys', name))}" for name in NEEDED | NO_AUTOGROUPS),
        "forwarding": frozenset({Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()}),
    }


def _cgroups() -> Iterator[str]:
    """As os.walk has it, which passes over what goes away meanwhile: other labs may be about."""
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (os.path.join(directory, name) for name in names if "rackbox" in name)


def niceness(topology: Topology) -> dict[str, set[int]]:
    """The nice values that a container's threads have, by machine."""
    group = f"rackbox-{topology.lab}"
    return {node.name: _nice_values(threads_of_group(f"{group}/{node.name}")) for node in topology.nodes}


def weights(topology: Topology) -> dict[str, int]:
    """What the machines' control groups weigh that processors are divided by, in those of cgroup v1 (1024 to begin
    with), by machine; without those that have none."""
    group, found = f"rackbox-{topology.lab}", {}
    for file in Path("/sys/fs/cgroup").glob(f"cpu*/{group}/*/cpu.shares"):
        found[file.parent.name] = int(file.read_text())
    for file in Path("/sys/fs/cgroup").glob(f"{group}/*/cpu.weight"):
        found[file.parent.name] = round(int(file.read_text()) * 10.24)
    return found


def _nice_values(threads: Iterable[int]) -> set[int]:
    values = set()
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            values.add(os.getpriority(os.PRIO_PROCESS, thread))
    return values


def left_behind(before: Traces, name: str) -> dict[str, list[str]]:
    """What is there now, was not before, and has to do with the lab ``name``."""
    now = host_traces()
    new = {kind: sorted(trace for trace in now[kind] - before[kind] if name in trace) for kind in now}
    return {kind: found for kind, found in new.items() if found}


def other_labs(traces: Traces, name: str) -> list[str]:
    """Labs that were there besides those whose name begins with ``name``."""
    return sorted(t for t in traces["namespaces"] if t.startswith("rackbox-") and not t.startswith(f"rackbox-{name}"))


def _listing(directory: Path) -> frozenset[str]:
    return frozenset(path.name for path in directory.iterdir()) if directory.is_dir() else frozenset()


def _lab_processes() -> list[str]:
    """Processes in another network namespace than ours, or with rackbox's name in their command line; each with its
    namespace and its control group, which both name the lab."""
    ours = os.stat("/proc/self/ns/net").st_ino
    labs = {path.stat().st_ino: path.name for path in Path("/run/netns").glob("rackbox-*")}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            network = (entry / "ns/net").stat().st_ino
            words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            groups = {line.rpartition(":")[2] for line in (entry / "cgroup").read_text().splitlines()}
        except OSError:  # it has ended
            continue
        if network != ours or "rackbox-" in words or "/rackbox/" in words:
            found.append(f"{entry.name} {labs.get(network, network)} {' '.join(sorted(groups))} {words}")
    return found


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""

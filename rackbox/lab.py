"""A lab that is up (or was): the one object through which commands reach its machines. Entry point: ``open_lab``."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from rackbox.errors import LabBusy, LabError, MachineError
from rackbox.health import Document, LabHealth, judge_lab
from rackbox.load import load_lab, settle_kubernetes
from rackbox.paths import Home, LabPaths
from rackbox.planner import plan_topology
from rackbox.providers import Provider, open_provider, prove_provider
from rackbox.release import Choice
from rackbox.run import Result
from rackbox.ssh import Connections
from rackbox.state import LabState, load_state
from rackbox.tools import find_user_home
from rackbox.topology import Node, Topology
from rackbox.wait import NotYet, wait_for

STATUS = "/usr/local/lib/rackbox/status"
STATUS_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class LiveMachine:
    """See ``rackbox.machine.Machine``."""

    lab: LiveLab
    node: Node

    def run(self, script: str, *, timeout: float = 10.0, check: bool = True) -> Result:
        limit = timeout * self.lab.provider.patience
        return self.lab.connections.run(self.node.name, script, timeout=limit, check=check)

    def stream_argv(self) -> list[str]:
        return self.lab.connections.stream_argv(self.node.name)

    def power_off(self) -> None:
        _unplug(self.lab.paths, self.node.name)
        self.lab.connections.close(self.node.name)
        self.lab.provider.power_off(self.lab.topology, self.node)

    def power_on(self) -> None:
        plug_in(self.lab.paths, self.node.name)
        if self.lab.provider.power_on(self.lab.topology, self.node):
            self.lab.provider.slow_down(self.lab.topology, self.node, self.lab.paths)

    def is_running(self) -> bool:
        return self.node.name in self.lab.provider.running(self.lab.topology, self.lab.paths)

    def freeze(self) -> None:
        self.lab.connections.close(self.node.name)  # nobody would answer on it
        self.lab.provider.freeze(self.lab.topology, self.node)

    def thaw(self) -> None:
        self.lab.provider.thaw(self.lab.topology, self.node)

    def is_frozen(self) -> bool:
        return self.node.name in self.lab.provider.frozen(self.lab.topology, self.lab.paths)


@dataclass(frozen=True, slots=True)
class LiveLab:
    """See ``rackbox.machine.Lab``."""

    file: Path
    topology: Topology
    home: Home
    paths: LabPaths
    provider: Provider
    choice: Choice | None = None
    """Where the lab's Kubernetes comes from, if it asks for one; ``topology`` has a cluster only if it comes."""

    @property
    def connections(self) -> Connections:
        wrap = partial(self.provider.host_argv, self.topology)
        return Connections(self.paths, wrap, self.provider.patience)

    @property
    def state(self) -> LabState | None:
        return load_state(self.paths.state)

    def machine(self, name: str) -> LiveMachine:
        return LiveMachine(self, self.require_node(name))

    def client_argv(self, argv: Sequence[str]) -> list[str]:
        return self.provider.client_argv(self.topology, argv)

    def client_environment(self) -> dict[str, str]:
        """What a client of the lab sets: where etcd answers, and with which credentials."""
        balancer = self.topology.load_balancer
        etcd = next((service for service in self.topology.services if service.name == "etcd"), None)
        variables = {"RACKBOX_LAB": str(self.file.absolute()), "debian_chroot": f"rackbox {self.topology.lab}"}
        if balancer and etcd:
            variables |= {
                "ETCDCTL_API": "3",
                "ETCDCTL_ENDPOINTS": f"https://{etcd.name}.{self.topology.domain}:{etcd.port}",
                "ETCDCTL_CACERT": str(self.paths.secrets / "ca.pem"),
                "ETCDCTL_CERT": str(self.paths.secrets / "client.pem"),
                "ETCDCTL_KEY": str(self.paths.secrets / "client.key"),
            }
        if self.topology.kubernetes is not None:
            variables["KUBECONFIG"] = str(self.paths.root / "kubeconfig-inside")
        return variables

    def read_documents(self, names: frozenset[str] | None = None) -> dict[str, Document | None]:
        """The status document of every machine, or of those ``names``, asked at the same time; None for one that does
        not answer."""
        nodes = [node for node in self.topology.nodes if names is None or node.name in names]
        with ThreadPoolExecutor(max_workers=min(32, len(nodes))) as pool:
            return dict(zip((node.name for node in nodes), pool.map(self._read_document, nodes), strict=True))

    def read_health(self) -> LabHealth:
        return judge_lab(self.topology, self.read_documents())

    def wait_healthy(self, timeout: float) -> LabHealth:
        """What all said when all were well. All are asked at first and at last; between, only those in question: to ask
        a whole lab keeps this computer busy for a second, and whoever waits may be measuring what a client feels
        meanwhile. A cluster's nodes that were switched on again have less of the processors until then."""
        documents: dict[str, Document | None] = {}

        def probe() -> LabHealth:
            while True:
                asked = judge_lab(self.topology, documents).in_question if documents else None
                documents.update(self.read_documents(asked))
                health = judge_lab(self.topology, documents)
                if health.all_problems:
                    raise NotYet("; ".join(health.all_problems))
                if asked is None:
                    return health
                documents.clear()

        health = wait_for(f"lab {self.topology.lab} healthy", probe, timeout=timeout, interval=0.3)
        self.provider.share_alike(self.topology, self.paths)
        return health

    def require_node(self, name: str) -> Node:
        names = [node.name for node in self.topology.nodes]
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"machines: {', '.join(names)}"
            raise LabError(f"lab {self.topology.lab} has no machine {name}", hint)
        return self.topology.node(name)

    def require_up(self) -> None:
        self.check_access()
        if not self.provider.is_prepared(self.topology, self.paths):
            raise LabError(f"lab {self.topology.lab} is not up", f"boot it with `./lab up --lab {self.file}`")
        state = self.state
        if state and state.lab_file != str(self.file.resolve()):
            raise LabError(
                f"lab {self.topology.lab} was made from {state.lab_file}; got {self.file}", "name the lab by that file"
            )

    def check_access(self) -> None:
        """Raise when the lab of that name is up and not ours to reach into: it needs root, or is up with another
        RACKBOX_HOME, where its secrets and disks are."""
        if not self.provider.is_prepared(self.topology, self.paths):
            return
        if self.provider.needs_root and os.geteuid() != 0:
            raise LabError(f"lab {self.topology.lab} is up; to reach into it needs root", "run the command as root")
        try:
            booted = self.paths.home.read_text().strip()
        except FileNotFoundError:
            return
        if booted != str(self.home.data):
            raise LabError(
                f"lab {self.topology.lab} is up with RACKBOX_HOME={booted}; here it is {self.home.data}",
                f"set RACKBOX_HOME={shlex.quote(booted)}, or give this lab another `name:`",
            )

    def keep_origin(self) -> None:
        """Note what the lab is booted from, for the commands that come later."""
        self.paths.home.parent.mkdir(parents=True, exist_ok=True)
        self.paths.home.write_text(f"{self.home.data}\n")
        self.paths.booted.parent.mkdir(parents=True, exist_ok=True)
        part = self.paths.booted.with_suffix(".part")
        part.write_bytes(self.file.read_bytes())
        part.replace(self.paths.booted)

    def _read_document(self, node: Node) -> Document | None:
        try:
            limit = STATUS_TIMEOUT * self.provider.patience
            result = self.connections.run(node.name, STATUS, timeout=limit, check=False)
            document: Document = json.loads(result.stdout) if result.ok else {}
        except (LabError, ValueError):
            return None
        return document or None


def open_lab(lab_file: Path, provider: str = "", works: Callable[[str], bool] | None = None) -> LiveLab:
    """The lab that a config describes. Its provider is the one it was booted with, else the one asked for; for `auto`
    the first that ``works``, where that is asked."""
    config, topology = load_lab(lab_file)
    home = find_user_home()
    paths = home.lab(topology.lab)
    state = load_state(paths.state)
    topology, choice = settle_kubernetes(config, topology, lab_file, home.bundles, state)
    name = state.provider if state and state.phase != "absent" else provider or config.provider
    if works is not None:
        name = prove_provider(name, works)
    return LiveLab(lab_file, topology, home, paths, open_provider(name), choice)


def open_booted_lab(lab_file: Path) -> LiveLab | None:
    """The lab that `up` made from this file, as it was then, even if the file is gone, broken or names another lab
    now; None where there is none."""
    home = find_user_home()
    for root in sorted(home.labs.glob("*/")):
        paths = home.lab(root.name)
        try:
            state = load_state(paths.state)
        except LabError:  # mostly another lab's; of this one, ``open_lab`` says what is wrong
            continue
        if state and state.lab_file == str(lab_file.resolve()) and paths.booted.exists():
            config, topology = load_lab(paths.booted)
            if not state.bundle:  # it was booted without, whatever there is now
                topology = plan_topology(config.without_kubernetes())
            return LiveLab(lab_file, topology, home, paths, open_provider(state.provider))
    return None


def is_unplugged(paths: LabPaths, name: str) -> bool:
    """Whether somebody has pulled that machine's plug: then the cluster's power switch must not start it again."""
    return (paths.runtime / "unplugged" / name).exists()


def _unplug(paths: LabPaths, name: str) -> None:
    mark = paths.runtime / "unplugged" / name
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def plug_in(paths: LabPaths, name: str) -> None:
    (paths.runtime / "unplugged" / name).unlink(missing_ok=True)


@contextmanager
def lab_lock(paths: LabPaths) -> Iterator[None]:
    """Hold the lab for one acting command; raises ``LabBusy`` at once when another has it. ``down`` takes the file away
    with the rest, while it holds the lock."""
    path = lock_file(paths)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabBusy(
                    f"lab {paths.runtime.name}: another command is acting on it", "wait for it to end, then try again"
                ) from None
            if not _is_still(path, lock.fileno()):
                continue  # opened just before a `down` removed it: that lock would keep nobody out
            yield
            return


def lock_file(paths: LabPaths) -> Path:
    return paths.runtime.parent / f"{paths.runtime.name}.lock"


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def machine_error(lab: LiveLab, node: Node, text: str, tail: Sequence[str]) -> MachineError:
    """An error that names the machine and shows the last lines of what it said."""
    lines = list(tail) or lab.provider.console_tail(node, lab.paths, 15)
    return MachineError(
        "\n".join([f"{node.name}: {text}", *(f"  | {line}" for line in lines)]),
        f"look inside with `./lab ssh {node.name}`, then go on with `./lab up --resume`",
    )

"""`invoke upgrade`: a running cluster goes to another bundle, one machine at a time, while probes use its API.

Entry point: ``command``. Everything that can be known beforehand is looked at before anything is touched: the version
skew policy (one minor at a time, never back), the bundle's checksums and images, what the lab's file asks for.

Then masters, then workers, as kubeadm has it: API servers before kubelets, kubelets of workers once all API servers are
new, the add-ons (CoreDNS, kube-proxy) with the last master. A machine is drained, leaves, is made anew from the new
bundle with certificates of its own, and comes back (``rolling``). ``state.upgraded`` knows who is on which bundle, so
that an upgrade that was broken off goes on, and `up` in between leaves each machine on its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Console

from rackbox.box import Box
from rackbox.bundle import Bundle, list_bundles, machine_arch, minor_of, name_bundle, read_bundle, runtimes_of
from rackbox.bundle_check import check_bundle, check_upgrade
from rackbox.catalogue import find_version
from rackbox.cluster import list_nodes
from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, LabError, MachineError
from rackbox.history import JsonValue
from rackbox.kubeconfig import require_cluster, write_kubeconfig
from rackbox.lab import LiveLab, lab_lock, open_lab
from rackbox.labfiles import render_files
from rackbox.oci import config_digest
from rackbox.paths import Home
from rackbox.release import MAKE_ONE, Image, Release, check_release, check_runtime, read_release
from rackbox.render import write_rendered
from rackbox.rolling import Rolling
from rackbox.runtimes import runtime_of
from rackbox.state import LabState, save_state
from rackbox.topology import Kubernetes, Node
from rackbox.up import bring_up, find_digests

LOOKING_ON = ("api-read", "api-write", "api-watch")
LOAD_SECONDS = 300.0


def command(lab_file: Path, bundle: str) -> int:
    """`invoke upgrade`: 0 all machines are on the bundle, 1 one is not, 3 it could not be begun."""
    console = open_console(stderr=True)
    lab = open_lab(lab_file)
    lab.require_up()
    require_cluster(lab)
    plan = plan_upgrade(lab, bundle)
    if plan is None:
        console.print(f"lab {lab.topology.lab} runs {require_cluster(lab).kubernetes}: nothing to upgrade to")
        return EXIT_OK
    bring_up(lab, console)  # whoever was left unfinished is finished first, on the bundle that it has
    code = upgrade_lab(lab, plan, console)
    if code == EXIT_OK:
        # The new bundle may bring what the old one lacked, and what the other machines have their part in.
        bring_up(open_lab(lab_file), console)
    return code


def plan_upgrade(lab: LiveLab, wanted: str) -> Release | None:
    """What the lab goes to; None where there is nothing newer. Touches nothing. Raises ``LabError``."""
    state, old = lab.state, require_cluster(lab)
    wished = lab.topology.kubernetes
    if state is None or wished is None:
        raise LabError(f"lab {lab.topology.lab} is not up", f"boot it with `./lab up --lab {lab.file}`")
    begun = sorted(set(state.upgraded.values()))
    if wanted:
        bundle = name_bundle(lab.home, wanted)
    elif begun:
        bundle = read_bundle(Path(begun[0]))
    else:
        newer = find_next(lab.home, old, wished.runtime)
        if newer is None:
            return None
        bundle = newer
    if begun and str(bundle.root) not in begun:
        text = f"lab {lab.topology.lab} is in the middle of an upgrade to {Path(begun[0]).name}; got {bundle.version}"
        raise LabError(text, "finish that one first: `./lab upgrade`")
    if str(bundle.root) == state.bundle and not begun:
        return None
    check_upgrade(old.kubernetes, bundle)
    check_wish(wished, bundle, lab.file)
    check_bundle(bundle, arch=machine_arch())
    release = read_release(bundle.root)
    check_runtime(release, wished.runtime, lab.file)
    return check_release(release, wished)


def find_next(home: Home, old: Release, runtime: str = "containerd") -> Bundle | None:
    """The newest bundle of the catalogue that a cluster on ``old`` can go to: newer, and at most the next minor. One
    that is enough for ``runtime`` goes before a newer one that is not, which is for the caller to refuse."""
    fit = []
    for bundle in list_bundles(home):
        if bundle.arch != machine_arch() or bundle.root == old.directory or bundle.kubernetes == old.kubernetes:
            continue
        try:
            check_upgrade(old.kubernetes, bundle)
        except LabError:
            continue
        fit.append(bundle)
    able = [bundle for bundle in fit if runtime in runtimes_of(bundle.components)]
    return next(reversed(able or fit), None)


def check_wish(wished: Kubernetes, bundle: Bundle, file: Path) -> None:
    """Raise unless the lab's file lets the cluster be of that version."""
    if wished.version and not f"{bundle.kubernetes}.".startswith(f"{wished.version}."):
        raise LabError(
            f"{file}: kubernetes.version: must be {minor_of(bundle.kubernetes)} or {bundle.kubernetes} to upgrade to "
            f"bundle {bundle.version}; got {wished.version}",
            "change it, then upgrade",
        )


def upgrade_lab(lab: LiveLab, release: Release, console: Console) -> int:
    """Do it. The lab is up and healthy: ``bring_up`` has just seen to that."""
    with lab_lock(lab.paths):
        state = lab.state
        if state is None:
            raise LabError(f"lab {lab.topology.lab} is not up", f"boot it with `./lab up --lab {lab.file}`")
        box = find_version(lab.home, lab.topology.os, lab.provider.name, state.box_version).box
        old = require_cluster(lab)
        names = [node.name for node in lab.topology.kubernetes_nodes]
        waiting = [name for name in names if state.upgraded.get(name) != str(release.directory)]
        check_running(lab, old, release, waiting)
        console.print(
            f"Kubernetes {old.kubernetes} → {release.kubernetes} (bundle {release.name}): {', '.join(waiting)}",
            soft_wrap=True,
        )
        code = EXIT_OK
        if waiting:
            code = _Upgrade(lab, box, state, console, old, release).run(waiting)
        finish(lab, box, release)
    console.print(f"lab {lab.topology.lab} runs Kubernetes {release.kubernetes}")
    return code


def check_running(lab: LiveLab, old: Release, release: Release, waiting: Collection[str]) -> None:
    """Raise unless every node runs what it should by now: what was changed by hand, nobody has thought of."""
    nodes = list_nodes(lab)
    wrong = []
    for node in lab.topology.kubernetes_nodes:
        must = (old if node.name in waiting else release).kubernetes
        found = nodes.get(node.name, {}).get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "none")
        if found != f"v{must}":
            wrong.append(f"{node.name}: kubelet must be v{must}; got {found}")
    if wrong:
        raise LabError("\n".join(wrong), "make that machine anew first: `./lab up --machine NAME`")


def finish(lab: LiveLab, box: Box, release: Release) -> None:
    """All machines are on it: from now on it is the lab's. Digests stay as the machines were made."""
    state = lab.state
    if state is None:
        return
    save_state(lab.paths.state, state.with_(bundle=str(release.directory), upgraded={}))
    for name in ("admin.pem", "admin.key"):
        (lab.paths.secrets / "kubernetes" / name).unlink(missing_ok=True)
    done = open_lab(lab.file)
    write_rendered(render_files(done, box, lab.paths.rendered), lab.paths.rendered)
    write_kubeconfig(done)


class _Upgrade(Rolling):
    what = "upgrade"
    done = "upgraded"
    go_on = "`./lab upgrade` goes on"

    def __init__(
        self, lab: LiveLab, box: Box, state: LabState, console: Console, old: Release, release: Release
    ) -> None:
        super().__init__(lab, box, state, console, LOOKING_ON)
        self._old = old
        self._release = release

    def run(self, waiting: Sequence[str]) -> int:
        # The last master has the cluster start new add-ons on all machines: the images must be there by then.
        workers = [self.lab.topology.node(name) for name in waiting if self.lab.topology.node(name).role == "worker"]
        with self.steps.step(f"images at hand on {', '.join(node.name for node in workers) or 'all'}"):
            for node in workers:
                load_images(self.lab, node, self._release)
        return super().run(waiting)

    def describe(self, node: Node) -> str:
        return f"{node.name} {self._old.kubernetes} → {self._release.kubernetes}"

    def facts(self) -> dict[str, JsonValue]:
        return {"from": self._old.kubernetes, "to": self._release.kubernetes, "bundle": self._release.name}

    def prepare_machine(self, node: Node) -> None:
        """From the new bundle, with a kubelet's certificate of its own; what kubeadm makes on a master is new
        anyway."""
        own = self.lab.paths.secrets / "kubernetes" / "nodes"
        for name in (f"{node.name}.pem", f"{node.name}.key"):
            (own / name).unlink(missing_ok=True)
        upgraded = {**self.state.upgraded, node.name: str(self._release.directory)}
        state = self.state.with_(upgraded=upgraded)
        files = render_files(self.lab, self.box, self.lab.paths.rendered, state)
        write_rendered(files, self.lab.paths.rendered)
        self.state = state.with_(digests=find_digests(self.lab, files))

    def check_machine(self, node: Node) -> None:
        info = list_nodes(self.lab).get(node.name, {}).get("status", {}).get("nodeInfo", {})
        if (found := info.get("kubeletVersion")) != f"v{self._release.kubernetes}":
            raise MachineError(f"{node.name}: kubelet must be v{self._release.kubernetes} now; got {found}")


def load_images(lab: LiveLab, node: Node, release: Release) -> None:
    """Give a machine's runtime the images that it lacks, over its own connection: the bundle that it sees is the
    old."""
    images, runtime = release.images_of(node, lab.topology), runtime_of(lab.topology)
    script = runtime.list_images([image.reference for image in images])
    there = {*lab.connections.run(node.name, script, timeout=30).stdout.splitlines()}
    for image in images:
        identity = config_digest(release.directory / image.path) if runtime.by_config else image.digest
        if f"{image.reference} {identity}" not in there:
            _load_image(lab, node, release, image)


def _load_image(lab: LiveLab, node: Node, release: Release, image: Image) -> None:
    argv = [*lab.connections.stream_argv(node.name), runtime_of(lab.topology).load]
    with (release.directory / image.path).open("rb") as archive:
        # Not `run`, which closes standard input: it may be a hundred megabytes.
        try:
            done = subprocess.run(  # noqa: S603 - an argv list without a shell
                argv, stdin=archive, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            text = f"{node.name}: image {image.reference} was not loaded within {LOAD_SECONDS:g} s"
            raise MachineError(text, "`./lab upgrade` goes on once the computer is less busy") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no word"]
        raise MachineError(f"{node.name}: image {image.reference} could not be loaded: {last[0]}", MAKE_ONE)

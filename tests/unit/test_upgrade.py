"""What is looked at before an upgrade, and what becomes of the lab's state and files on the way, on machines that only
pretend."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rackbox import rolling, upgrade
from rackbox.box import Box
from rackbox.bundle import machine_arch
from rackbox.errors import LabError, MachineError
from rackbox.health import LabHealth
from rackbox.load import load_lab
from rackbox.oci import Entry, ImageConfig, config_digest, write_image, write_layer
from rackbox.paths import PROJECT, Home
from rackbox.release import Choice, read_release
from rackbox.render import render_lab
from rackbox.state import LabState, load_state, save_state
from rackbox.topology import Node, Topology
from tests import bundling
from tests.bundles import make_release
from tests.fakes import cluster_topology
from tests.rendering import TARGET, fake_credentials, settings_of

pytestmark = pytest.mark.skipif(machine_arch() != "amd64", reason="the bundles here are for amd64")


class PretendLab:
    """Nodes run what they were last made from, and a log says what was done to them."""

    def __init__(self, tmp_path: Path, *versions: str) -> None:
        self.file = tmp_path / "lab.yaml"
        self.home = Home(tmp_path / "data", tmp_path / "run")
        self.topology: Topology = cluster_topology()
        self.paths = self.home.lab("kubernetes")
        self.bundles = {v: make_kept_bundle(self.home, v) for v in versions}
        self.old = self.bundles[versions[0]]
        self.choice = Choice("bundle", "for a test", read_release(self.old))
        self.runs = dict.fromkeys((node.name for node in self.topology.kubernetes_nodes), versions[0])
        self.provider: Any = self
        self.name = "pretend"
        self.done: list[str] = []
        state = LabState("kubernetes", "x", "pretend", box_version="1", phase="up", bundle=str(self.old))
        save_state(self.paths.state, state)

    @property
    def state(self) -> LabState:
        state = load_state(self.paths.state)
        assert state is not None
        return state

    def box_versions(self, *_: Any) -> dict[str, str]:
        return {}

    def facts(self) -> dict[str, str]:
        return {}

    def read_health(self) -> LabHealth:
        return LabHealth((), (), "lb1", "master2")

    def machine(self, name: str) -> PretendLab:
        return self

    def power_off(self) -> None:
        pass


def make_kept_bundle(home: Home, version: str) -> Path:
    directory = home.bundles / f"{version}-amd64-1"
    directory.mkdir(parents=True)
    bundling.make_bundle(directory, {"kubernetes": version})
    return directory


@pytest.fixture
def lab(tmp_path: Path) -> PretendLab:
    return PretendLab(tmp_path, "1.35.4", "1.36.3")


def plan(lab: PretendLab, wanted: str = "") -> str | None:
    release = upgrade.plan_upgrade(lab, wanted)  # type: ignore[arg-type] # it only pretends
    return release.kubernetes if release else None


# --- beforehand


@pytest.fixture(autouse=True)
def no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small bundles have no MetalLB."""
    monkeypatch.setattr(upgrade, "check_release", lambda release, wished: release)


@pytest.mark.parametrize(
    ("versions", "goes_to"),
    [
        (("1.35.4", "1.36.3"), "1.36.3"),
        (("1.35.4", "1.35.5", "1.36.3", "1.37.0"), "1.36.3"),
        (("1.35.4", "1.35.5"), "1.35.5"),
        (("1.36.3", "1.35.4"), None),
        (("1.35.4", "1.37.0"), None),
        (("1.35.4",), None),
    ],
)
def test_the_newest_that_is_allowed(tmp_path: Path, versions: Iterable[str], goes_to: str | None) -> None:
    assert plan(PretendLab(tmp_path, *versions)) == goes_to


def test_one_that_is_enough_for_the_runtime_goes_before_a_newer_one(lab: PretendLab) -> None:
    with_docker = lab.home.bundles / "1.36.2-amd64-d"
    with_docker.mkdir()
    bundling.make_bundle(with_docker, {"kubernetes": "1.36.2", "docker": "26.1.5+dfsg1-9", "cri-dockerd": "0.4.3"})
    old = read_release(lab.home.bundles / "1.35.4-amd64-1")
    found = {name: upgrade.find_next(lab.home, old, name) for name in ("containerd", "docker", "other")}
    assert {name: bundle and bundle.kubernetes for name, bundle in found.items()} == {
        "containerd": "1.36.3",
        "docker": "1.36.2",
        "other": "1.36.3",  # which the caller refuses in words
    }


@pytest.mark.parametrize(
    ("versions", "wanted", "words"),
    [
        (("1.35.4", "1.37.0"), "1.37.0", "must be 1.35 or 1.36, one minor at a time; got 1.37.0"),
        (("1.36.3", "1.35.4"), "1.35.4", "must not be older than what runs, 1.36.3; got 1.35.4"),
        (("1.35.4",), "1.36.3", "bundle '1.36.3': is not there"),
    ],
)
def test_version_skew_is_refused(tmp_path: Path, versions: Iterable[str], wanted: str, words: str) -> None:
    with pytest.raises(LabError, match=words) as caught:
        plan(PretendLab(tmp_path, *versions), wanted)
    assert caught.value.exit_code == 3


def test_a_damaged_bundle_is_refused(lab: PretendLab) -> None:
    (lab.bundles["1.36.3"] / "bin/kubelet").write_text("kubelet 1.36.4")
    with pytest.raises(LabError, match="bin/kubelet: changed: SHA-256 must be"):
        plan(lab)


def test_what_the_file_asks_for_is_heard(lab: PretendLab) -> None:
    assert lab.topology.kubernetes is not None
    lab.topology = replace(lab.topology, kubernetes=replace(lab.topology.kubernetes, version="1.35"))
    with pytest.raises(LabError, match=r"kubernetes\.version: must be 1\.36 or 1\.36\.3 to upgrade .*; got 1\.35"):
        plan(lab)


def test_one_that_was_begun_is_finished_first(tmp_path: Path) -> None:
    lab = PretendLab(tmp_path, "1.35.4", "1.36.3", "1.36.4")
    save_state(lab.paths.state, lab.state.with_(upgraded={"master1": str(lab.bundles["1.36.3"])}))
    assert plan(lab) == "1.36.3", "not the newest"
    with pytest.raises(LabError, match=r"in the middle of an upgrade to 1\.36\.3-amd64-1; got 1\.36\.4-amd64-1"):
        plan(lab, "1.36.4")


# --- on the way


@pytest.fixture
def rolled(lab: PretendLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendLab:
    box = Box("debian-13", "pretend", "1", tmp_path / "box", "")

    def remake(_lab: Any, _vagrant: Any, node: Node) -> None:
        state = lab.state
        assert (state.phase, state.failed) == ("failed", (node.name,))
        assert state.bundle == str(lab.old), "who is not upgraded yet stays on it"
        lab.done.append(node.name)
        lab.runs[node.name] = read_release(Path(state.upgraded[node.name])).kubernetes

    def nodes(_lab: Any) -> dict[str, Any]:
        return {name: {"status": {"nodeInfo": {"kubeletVersion": f"v{run}"}}} for name, run in lab.runs.items()}

    monkeypatch.setattr(upgrade, "find_version", lambda *_: type("Version", (), {"box": box}))
    monkeypatch.setattr(upgrade, "load_images", lambda _lab, node, _release: lab.done.append(f"images {node.name}"))
    monkeypatch.setattr(upgrade, "list_nodes", nodes)
    monkeypatch.setattr(upgrade, "render_files", lambda *_: {})
    monkeypatch.setattr(upgrade, "find_digests", lambda *_: {"master1": "x"})
    monkeypatch.setattr(upgrade, "open_lab", lambda *_: lab)
    monkeypatch.setattr(upgrade, "write_kubeconfig", lambda *_: None)
    monkeypatch.setattr(upgrade, "LOOKING_ON", ())
    for name in ("take_box", "withdraw", "welcome", "undo"):
        monkeypatch.setattr(rolling, name, lambda *_: None)
    monkeypatch.setattr(rolling, "read_kept", lambda *_: "")
    monkeypatch.setattr(rolling, "remake_machine", remake)
    monkeypatch.setattr(rolling, "CALM_SECONDS", 0.0)
    return lab


def go(lab: PretendLab) -> tuple[int, str]:
    out = io.StringIO()
    release = read_release(lab.bundles["1.36.3"])
    code = upgrade.upgrade_lab(lab, release, Console(file=out, width=200))  # type: ignore[arg-type] # it only pretends
    return code, out.getvalue()


def test_masters_then_workers_and_then_it_is_the_lab_s(rolled: PretendLab) -> None:
    code, out = go(rolled)
    assert code == 0
    images = ["images worker1", "images worker2", "images worker3"]
    order = ["master1", "master3", "master2", "worker1", "worker2", "worker3"]
    assert rolled.done == [*images, *order], "etcd's leader last of the masters; images before anything"
    assert "master1 1.35.4 → 1.36.3 (1 of 6)" in out
    state = rolled.state
    assert (state.bundle, state.upgraded, state.phase) == (str(rolled.bundles["1.36.3"]), {}, "up")
    assert state.digests == {"master1": "x"}, "as the machines were made: what is other now, `up` sees"


def test_the_images_are_those_that_the_lab_has_a_use_for(lab: PretendLab, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(upgrade, "_load_image", lambda _lab, _node, _release, image: loaded.append(image.name))
    monkeypatch.setattr(PretendLab, "connections", lab, raising=False)
    answer = type("Result", (), {"stdout": "REF TYPE DIGEST\n"})
    monkeypatch.setattr(PretendLab, "run", lambda *_, **__: answer, raising=False)
    upgrade.load_images(lab, lab.topology.node("worker1"), read_release(lab.bundles["1.36.3"]))  # type: ignore[arg-type] # it only pretends
    assert {"gluster-csi", "traefik", "kube-proxy"} <= {*loaded}


def test_docker_knows_an_image_by_its_config(lab: PretendLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that it has are not sent again; one of the same name with another config is."""
    cluster = lab.topology.kubernetes
    assert cluster is not None
    monkeypatch.setattr(lab, "topology", replace(lab.topology, kubernetes=replace(cluster, runtime="docker")))
    release = read_release(lab.bundles["1.36.3"])
    worker = lab.topology.node("worker1")
    digests = {}
    for image in release.images_of(worker, lab.topology):
        layer = write_layer(tmp_path / "layer.tar", [Entry(image.name, b"x")], 0)
        config = ImageConfig((f"/{image.name}",), "amd64", 0)
        write_image(release.directory / image.path, image.reference, [layer], config)
        digests[image.reference] = config_digest(release.directory / image.path)
    assert len({*digests.values()}) == len(digests)
    stale = next(name for name in digests if "kube-proxy" in name)
    listing = "".join(
        f"{name} {'sha256:of-another' if name == stale else digest}\n" for name, digest in digests.items()
    )
    asked: list[str] = []

    def answer(_lab: Any, _name: str, script: str, **_: Any) -> Any:
        asked.append(script)
        return type("Result", (), {"stdout": listing})

    loaded: list[str] = []
    monkeypatch.setattr(upgrade, "_load_image", lambda _lab, _node, _release, image: loaded.append(image.reference))
    monkeypatch.setattr(PretendLab, "connections", lab, raising=False)
    monkeypatch.setattr(PretendLab, "run", answer, raising=False)
    upgrade.load_images(lab, worker, release)  # type: ignore[arg-type] # it only pretends
    assert loaded == [stale]
    assert "docker image inspect" in asked[0]
    assert stale in asked[0]


def test_one_that_was_broken_off_goes_on(rolled: PretendLab, monkeypatch: pytest.MonkeyPatch) -> None:
    remake: Any = vars(rolling)["remake_machine"]

    def fail(lab: Any, vagrant: Any, node: Node) -> None:
        if node.name == "worker2":
            raise MachineError("worker2: hook 40-start-kubelet.sh failed")
        remake(lab, vagrant, node)

    with monkeypatch.context() as patch:
        patch.setattr(rolling, "remake_machine", fail)
        with pytest.raises(MachineError, match="40-start-kubelet") as caught:
            go(rolled)
    assert "`./lab upgrade` goes on" in caught.value.hint
    state = rolled.state
    assert (state.failed, state.bundle) == (("worker2",), str(rolled.old))
    assert sorted(state.upgraded) == ["master1", "master2", "master3", "worker1", "worker2"], (
        "`up` makes it from the new"
    )
    # `bring_up` finishes it, then the rest follows.
    rolled.runs["worker2"] = "1.36.3"
    save_state(rolled.paths.state, state.with_(phase="up", failed=()))
    rolled.done.clear()
    shutil.rmtree(rolled.paths.runs)  # it is named after the second
    assert go(rolled)[0] == 0
    assert rolled.done == ["images worker3", "worker3"]


def test_a_node_that_runs_something_else_is_refused(rolled: PretendLab) -> None:
    rolled.runs["worker1"] = "1.34.9"
    with pytest.raises(LabError, match=r"worker1: kubelet must be v1\.35\.4; got v1\.34\.9"):
        go(rolled)
    assert rolled.done == []


# --- files


def test_each_machine_is_rendered_from_its_own_bundle(tmp_path: Path) -> None:
    from rackbox.hooks import load_sources

    topology = load_lab(PROJECT / "config" / "kubernetes.yaml")[1]
    old, new = (make_release(tmp_path / v, kubernetes=v) for v in ("1.35.4", "1.36.3"))
    lines = {node.name: settings_of(node) for node in topology.nodes}
    credentials, sources = fake_credentials(topology), load_sources()
    before = render_lab(topology, credentials, lines, sources, TARGET, old)
    amid = render_lab(topology, credentials, lines, sources, TARGET, old, {"master1": new})
    changed = {name.split("/")[1] for name in before if before[name] != amid[name]}
    assert changed == {"master1"}, "nobody else is made other by it"
    kubeadm = "nodes/master{}/files/etc/rackbox/kubernetes/kubeadm.yaml"
    assert 'kubernetesVersion: "v1.36.3"' in str(amid[kubeadm.format(1)].content)
    assert 'kubernetesVersion: "v1.35.4"' in str(amid[kubeadm.format(2)].content)

"""What `up` does with machines that are there already, on a lab that only pretends: who is left alone, made anew,
provisioned again, and taken in again by the balancers."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from rackbox import up
from rackbox.box import Box
from rackbox.errors import LabError
from rackbox.paths import Home
from rackbox.providers import open_provider
from rackbox.state import LabState
from rackbox.volume_command import require
from tests.rendering import shipped

TOPOLOGY = shipped("default")
NAMES = [node.name for node in TOPOLOGY.nodes]
DIGESTS = dict.fromkeys(NAMES, "as it was made")


class PretendLab:
    """``there`` are machines that exist, ``done`` is what was done to them; those that are removed do not run."""

    def __init__(self, tmp_path: Path, there: list[str]) -> None:
        self.topology = TOPOLOGY
        self.paths = Home(tmp_path / "data", tmp_path / "run").lab("default")
        self.there = set(there)
        self.done: list[str] = []
        self.states: list[LabState] = []
        self.provider = SimpleNamespace(
            remark="",
            prepare=lambda *_: None,
            existing=lambda *_: frozenset(self.there),
            running=lambda *_: frozenset(self.there),
        )

    def keep_origin(self) -> None:
        pass

    def remove(self, names: list[str]) -> None:
        self.there -= set(names)
        self.done += [f"removed {name}" for name in names]


def boot(
    monkeypatch: pytest.MonkeyPatch, lab: PretendLab, state: LabState, digests: dict[str, str], resume: bool = False
) -> list[str]:
    def note(word: str) -> Any:
        return lambda _, node: lab.done.append(f"{word} {node.name}")

    idle = ("open_vagrant", "check_volumes", "share_images", "write_rendered", "_install_box", "start_fencing")
    for name in (*idle, "write_kubeconfig", "forget_gone"):
        monkeypatch.setattr(up, name, lambda *_: None)
    monkeypatch.setattr(up, "save_state", lambda _, state: lab.states.append(state))
    monkeypatch.setattr(up, "_remove_machines", lambda _lab, _vagrant, names: lab.remove(names))
    monkeypatch.setattr(
        up, "_start_machines", lambda _lab, _vagrant, start, *_: lab.done.extend(f"started {n.name}" for n in start)
    )
    monkeypatch.setattr(up, "_provision_again", note("provisioned"))
    monkeypatch.setattr(up, "welcome", note("welcomed"))
    monkeypatch.setattr(up, "start_forwarders", lambda *_: 7)
    box = Box("debian-13", "lxc", "20260101.1", Path("/srv/box"), "")
    up._boot(lab, box, {}, state, digests, Console(quiet=True), resume)  # type: ignore[arg-type] # it only pretends
    assert (lab.states[0].phase, lab.states[-1].phase) == ("starting", "up")
    assert (lab.states[-1].failed, lab.states[-1].digests, lab.states[-1].forward_pid) == ((), digests, 7)
    return lab.done


def made(**changes: Any) -> LabState:
    return LabState("default", "/srv/lab.yaml", "lxc", phase="up", digests=dict(DIGESTS)).with_(**changes)


@pytest.mark.parametrize(
    ("lab", "bundle", "runtime", "words"),
    [
        ("kubernetes-docker", "/b", "docker", ""),
        ("kubernetes", "/b", "containerd", ""),
        ("default", "", "containerd", ""),
        ("kubernetes-docker", "/b", "containerd", "kubernetes.runtime: must stay containerd, .*; got docker"),
        ("kubernetes", "/b", "docker", "kubernetes.runtime: must stay docker, .*; got containerd"),
        ("kubernetes-docker", "", "containerd", "was made without Kubernetes"),
        ("default", "/b", "docker", "was made with Kubernetes"),
    ],
)
def test_machines_keep_their_cluster_and_what_runs_its_containers(
    lab: str, bundle: str, runtime: str, words: str
) -> None:
    pretended: Any = SimpleNamespace(topology=shipped(lab), file=Path("/srv/lab.yaml"))
    state = made(bundle=bundle, runtime=runtime)
    if not words:
        up.check_cluster(pretended, state)
        return
    with pytest.raises(LabError, match=words) as caught:
        up.check_cluster(pretended, state)
    assert "down" in caught.value.hint


def test_a_new_lab_is_started_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = LabState("default", "/srv/lab.yaml", "lxc")
    assert boot(monkeypatch, PretendLab(tmp_path, []), state, DIGESTS) == [f"started {name}" for name in NAMES]


def test_what_is_right_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert boot(monkeypatch, PretendLab(tmp_path, NAMES), made(), DIGESTS) == []


def test_what_has_changed_is_provisioned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {**DIGESTS, "lb1": "of another file"}
    assert boot(monkeypatch, PretendLab(tmp_path, NAMES), made(), digests) == ["provisioned lb1"]


def test_who_was_never_finished_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `up` that was killed has not even said who failed."""
    digests = {name: digest for name, digest in DIGESTS.items() if name != "master2"}
    state = made(phase="starting", digests=digests)
    done = boot(monkeypatch, PretendLab(tmp_path, NAMES), state, DIGESTS)
    assert done == ["removed master2", "started master2"]


def test_a_renewal_that_was_broken_off_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The balancers were told that it leaves, and send it nothing until they are told that it is back."""
    done = boot(monkeypatch, PretendLab(tmp_path, NAMES), made(phase="failed", failed=("master2",)), DIGESTS)
    assert done == ["removed master2", "started master2", "welcomed master2"]


def test_resumed_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = made(phase="failed", failed=("master2",))
    done = boot(monkeypatch, PretendLab(tmp_path, NAMES), state, DIGESTS, resume=True)
    assert done == ["provisioned master2", "welcomed master2"]


@pytest.mark.parametrize(
    ("provider", "hint"), [("lxc", "`./lab up --renew` takes it"), ("libvirt", "`./lab down` and `./lab up` take it")]
)
def test_a_lab_on_an_older_box_is_told_what_its_provider_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, hint: str
) -> None:
    boxes = {version: Box("debian-13", provider, version, tmp_path, "") for version in ("1", "2")}
    monkeypatch.setattr(up, "current_box", lambda *_: boxes["2"])
    monkeypatch.setattr(up, "list_versions", lambda *_: [SimpleNamespace(box=b, version=v) for v, b in boxes.items()])
    lab: Any = PretendLab(tmp_path, ["lb1"])
    lab.home = Home(tmp_path / "data", tmp_path / "run")
    lab.provider.name, lab.provider.capabilities = provider, open_provider(provider).capabilities
    out = io.StringIO()
    found = up._find_box(lab, LabState("default", "", provider, box_version="1"), Console(file=out, width=200))
    assert found == boxes["1"]
    assert out.getvalue() == f"lab default stays on box 1; 2 is current: {hint}\n"


@pytest.mark.parametrize(
    ("provider", "capability", "hint"),
    [
        ("libvirt", "renewal in place", "`provider: lxc` can"),
        ("lxc", "LVM volumes", "`provider: libvirt` or `provider: virtualbox` can"),
    ],
)
def test_what_a_provider_cannot_names_the_one_that_can(provider: str, capability: str, hint: str) -> None:
    lab: Any = SimpleNamespace(provider=open_provider(provider))
    with pytest.raises(LabError, match=f"provider {provider}: no {capability}") as error:
        require(lab, capability)
    assert error.value.hint == hint

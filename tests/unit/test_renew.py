"""The renewal's course on a lab that only pretends: order, what is on disk when it breaks off, Ctrl-C, exit codes."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from rackbox import renew, rolling
from rackbox.box import Box
from rackbox.errors import LabError, MachineError
from rackbox.health import LabHealth
from rackbox.load import load_topology
from rackbox.paths import PROJECT, Home
from rackbox.state import LabState, load_state, save_state
from rackbox.topology import Node

TOPOLOGY = load_topology(PROJECT / "config" / "default.yaml")
OLD, NEW = "20260101.000000", "20260201.000000"


class PretendLab:
    """Machines have a box's version, and a log of what was done to them."""

    def __init__(self, tmp_path: Path) -> None:
        self.topology = TOPOLOGY
        self.home = Home(tmp_path / "data", tmp_path / "run")
        self.paths = self.home.lab("default")
        self.provider: Any = self
        self.name = "pretend"
        self.versions = {node.name: OLD for node in TOPOLOGY.nodes}
        self.done: list[str] = []
        self.holder, self.leader = "lb1", "master1"
        save_state(self.paths.state, LabState("default", "x.yaml", "pretend", box_version=OLD, phase="up"))

    @property
    def state(self) -> LabState | None:
        return load_state(self.paths.state)

    def box_versions(self, *_: Any) -> dict[str, str]:
        return dict(self.versions)

    def facts(self) -> dict[str, str]:
        return {}

    def require_node(self, name: str) -> Node:
        if name not in self.versions:
            raise LabError(f"lab default has no machine {name}")
        return TOPOLOGY.node(name)

    def read_health(self) -> LabHealth:
        return LabHealth((), (), self.holder, self.leader)

    def machine(self, name: str) -> Any:
        return SimpleNamespace(power_off=lambda: self.done.append(f"off {name}"))

    @contextlib.contextmanager
    def stand_in(self, _topology: Any, node: Node, _paths: Any) -> Iterator[None]:
        self.done.append(f"stand in for {node.name}")
        yield
        self.done.append(f"{node.name} forwards again")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendLab:
    pretend = PretendLab(tmp_path)

    def withdraw(_: Any, node: Node) -> None:
        pretend.done.append(f"withdraw {node.name}")
        if node.name == pretend.holder:
            pretend.holder = "lb2"
        if node.name == pretend.leader:
            pretend.leader = "master2"

    def remake(_lab: Any, _vagrant: Any, node: Node) -> None:
        state = pretend.state
        assert state is not None
        assert state.failed == (node.name,), "a plain `up` would make it anew as well, if we were killed now"
        assert state.box_version == NEW
        assert (pretend.paths.kept / f"{node.name}.tar").exists() == (node.role == "gluster")
        pretend.done.append(f"remake {node.name}")
        pretend.versions[node.name] = NEW

    box = Box("debian-13", "pretend", NEW, tmp_path / "box", "")
    monkeypatch.setattr(renew, "current_box", lambda *_: box)
    monkeypatch.setattr(rolling, "take_box", lambda *_: None)
    monkeypatch.setattr(rolling, "withdraw", withdraw)
    monkeypatch.setattr(rolling, "welcome", lambda _, node: pretend.done.append(f"welcome {node.name}"))
    monkeypatch.setattr(rolling, "undo", lambda _, node: pretend.done.append(f"undo {node.name}"))
    monkeypatch.setattr(
        rolling, "read_kept", lambda _, node: base64.b64encode(b"tar").decode() if node.role == "gluster" else ""
    )
    monkeypatch.setattr(rolling, "remake_machine", remake)
    monkeypatch.setattr(renew, "LOOKING_ON", ())
    monkeypatch.setattr(rolling, "CALM_SECONDS", 0.0)
    return pretend


def run(lab: PretendLab, *only: str) -> tuple[int, str]:
    out = io.StringIO()
    code = renew.renew_lab(lab, Console(file=out, width=200), only)  # type: ignore[arg-type]
    return code, out.getvalue()


def made(lab: PretendLab) -> list[str]:
    return [line.split()[1] for line in lab.done if line.startswith("remake")]


def test_all_machines_in_a_safe_order(lab: PretendLab) -> None:
    code, out = run(lab)
    assert code == 0
    assert made(lab)[:2] == ["lb2", "lb1"]
    assert made(lab)[4] == "master1", "the leader last"
    assert made(lab)[-1] == "gateway"
    at = lab.done.index("withdraw lb2")
    assert lab.done[at : at + 4] == ["withdraw lb2", "off lb2", "remake lb2", "welcome lb2"]
    assert lab.done[-6:] == [
        "withdraw gateway",
        "stand in for gateway",
        "off gateway",
        "remake gateway",
        "gateway forwards again",
        "welcome gateway",
    ]
    assert set(lab.versions.values()) == {NEW}
    state = lab.state
    assert state is not None
    assert (state.phase, state.failed, state.box_version) == ("up", (), NEW)
    assert not list(lab.paths.kept.iterdir())
    assert "11 machines made anew" in out


def test_nothing_to_do_is_said(lab: PretendLab) -> None:
    lab.versions = dict.fromkeys(lab.versions, NEW)
    code, out = run(lab)
    assert code == 0
    assert "nothing to renew" in out
    assert lab.done == []


def test_named_machines_whatever_their_box(lab: PretendLab) -> None:
    lab.versions = dict.fromkeys(lab.versions, NEW)
    assert run(lab, "worker2", "lb1")[0] == 0
    assert made(lab) == ["lb1", "worker2"]
    with pytest.raises(LabError, match="has no machine lb9"):
        run(lab, "lb9")


def test_a_machine_that_does_not_come_back_stops_it(lab: PretendLab, monkeypatch: pytest.MonkeyPatch) -> None:
    remake: Any = vars(rolling)["remake_machine"]

    def fail(pretend: Any, vagrant: Any, node: Node) -> None:
        remake(pretend, vagrant, node)
        if node.name == "master2":
            raise MachineError("master2: hook 10-start-etcd.sh failed")

    monkeypatch.setattr(rolling, "remake_machine", fail)
    with pytest.raises(MachineError, match=r"hook 10-start-etcd\.sh failed") as caught:
        run(lab)
    assert made(lab) == ["lb2", "lb1", "master2"]
    assert caught.value.hint.startswith("left: gateway, master1, master2, master3, gluster1")
    assert "up --renew" in caught.value.hint
    state = lab.state
    assert state is not None
    assert (state.phase, state.failed) == ("failed", ("master2",))


def test_a_machine_that_cannot_leave_stays(lab: PretendLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any, node: Node) -> None:
        raise LabError("the floating IP on another balancer: not within 20 s")

    monkeypatch.setattr(rolling, "withdraw", refuse)
    with pytest.raises(MachineError, match="floating IP on another balancer"):
        run(lab)
    assert lab.done == ["undo lb2"]
    state = lab.state
    assert state is not None
    assert state.failed == ()


def test_ctrl_c_ends_it_once_the_machine_is_well(lab: PretendLab, monkeypatch: pytest.MonkeyPatch) -> None:
    remake: Any = vars(rolling)["remake_machine"]

    def interrupted(pretend: Any, vagrant: Any, node: Node) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remake(pretend, vagrant, node)

    monkeypatch.setattr(rolling, "remake_machine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(lab)
    assert made(lab) == ["lb2"]
    assert lab.done[-1] == "welcome lb2"
    state = lab.state
    assert state is not None
    assert (state.phase, state.failed) == ("up", ())


def test_a_second_ctrl_c_ends_it_at_once(lab: PretendLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(pretend: Any, vagrant: Any, node: Node) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(rolling, "remake_machine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(lab)
    state = lab.state
    assert state is not None
    assert (state.phase, state.failed) == ("failed", ("lb2",))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

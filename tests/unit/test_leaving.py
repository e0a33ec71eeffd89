"""Which changes of masters etcd can follow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rackbox import leaving
from rackbox.errors import LabError
from rackbox.leaving import check_masters
from rackbox.state import LabState

THREE = ("master1", "master2", "master3")
FIVE = (*THREE, "master4", "master5")


def lab(now: tuple[str, ...], running: tuple[str, ...], *, stacked: bool = False) -> Any:
    masters = tuple(SimpleNamespace(name=name) for name in now)
    topology = SimpleNamespace(lab="x", by_role=lambda role: masters, has_stacked_etcd=stacked)
    provider = SimpleNamespace(running=lambda topology, paths: frozenset(running))
    return SimpleNamespace(topology=topology, provider=provider, paths=None)


@pytest.mark.parametrize(
    ("before", "now", "running"),
    [
        ((), FIVE, ()),
        (THREE, THREE, ()),
        (THREE, FIVE, ()),
        (THREE, FIVE, THREE),
        (FIVE, THREE, FIVE),
        (FIVE, THREE, ()),
        (THREE, ("master1",), THREE),
        (THREE, ("master1", "a", "b"), THREE),
    ],
)
def test_what_etcd_can_follow(before: tuple[str, ...], now: tuple[str, ...], running: tuple[str, ...]) -> None:
    check_masters(lab(now, running), LabState("x", "x.yaml", "lxc", masters=before))


@pytest.mark.parametrize(
    ("now", "running", "words"),
    [
        (("a", "b", "c"), THREE, "nodes.master: must keep one of master1, master2, master3, who have etcd's data"),
        (("master1",), (), "nodes.master: must stay 3 until all of them run; got 1"),
        (("master1",), THREE[:2], "nodes.master: must stay 3 until all of them run; got 1"),
        ((), THREE, "got none"),
    ],
)
def test_what_etcd_cannot_follow_is_refused(now: tuple[str, ...], running: tuple[str, ...], words: str) -> None:
    with pytest.raises(LabError) as raised:
        check_masters(lab(now, running), LabState("x", "x.yaml", "lxc", masters=THREE))
    assert words in str(raised.value)
    assert raised.value.hint


@pytest.mark.parametrize(("was", "got"), [("external", "stacked"), ("stacked", "external")])
def test_whoever_starts_etcd_stays_the_same(was: str, got: str) -> None:
    state = LabState("x", "x.yaml", "lxc", masters=THREE, stacked=was == "stacked")
    with pytest.raises(LabError, match=f"kubernetes.etcd: must stay {was}.*got {got}"):
        check_masters(lab(THREE, THREE, stacked=got == "stacked"), state)


@pytest.mark.parametrize(
    ("running", "asked"),
    [
        ((*FIVE, "worker1"), ["drain master4", "master4", "drain master5", "master5", "drain worker1"]),
        ((*THREE, "worker1"), ["drain worker1"]),
        (("master1", "master2", "worker1"), []),
    ],
)
def test_who_is_asked_to_leave(running: tuple[str, ...], asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody without a majority, nobody who is off, and of etcd masters alone."""
    done: list[str] = []
    monkeypatch.setattr(leaving, "set_backends", lambda lab, name, state: done.append(f"{state} {name}"))
    fake = lab(THREE, running)
    fake.topology.kubernetes = None
    fake.provider.patience = 1.0
    fake.connections = SimpleNamespace(run=lambda name, script, timeout: done.append(name))
    state = LabState("x", "x.yaml", "lxc", masters=FIVE)
    # Without a cluster no pods are drained, so no step is shown.
    leaving.leave(fake, state, ["master4", "master5", "worker1"], running, steps=None)  # type: ignore[arg-type] # see above
    assert done == asked

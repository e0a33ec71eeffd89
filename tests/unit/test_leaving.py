"""Which changes of masters etcd can follow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rackbox.errors import LabError
from rackbox.leaving import check_masters
from rackbox.state import LabState

THREE = ("master1", "master2", "master3")
FIVE = (*THREE, "master4", "master5")


def lab(now: tuple[str, ...], running: tuple[str, ...]) -> Any:
    masters = tuple(SimpleNamespace(name=name) for name in now)
    topology = SimpleNamespace(lab="x", by_role=lambda role: masters)
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

"""A container's power is cut directly where that can be had, and by a script where not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rackbox.direct_cut import try_direct_cut
from rackbox.place import Place
from rackbox.providers import lxc
from rackbox.providers.lxc import LxcProvider
from tests.rendering import shipped

TOPOLOGY = shipped("small")
NODE = TOPOLOGY.node("lb1")


class Direct:
    def __init__(self, broken: bool) -> None:
        self.broken = broken
        self.asked: list[tuple[list[str], str]] = []

    def __call__(self, ports: Sequence[str], group: str) -> None:
        self.asked.append((list(ports), group))
        if self.broken:
            raise FileNotFoundError(group)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    ran: list[str] = []
    monkeypatch.setattr(lxc, "run", lambda argv, **_: ran.append(argv[-1]))
    return ran


@pytest.mark.parametrize("broken", [False, True])
def test_the_script_is_for_what_cannot_be_done_directly(
    broken: bool, scripts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, provider = Direct(broken), LxcProvider()
    monkeypatch.setattr(lxc, "try_direct_cut", lambda *_: direct)
    provider.hold_power(TOPOLOGY)
    provider.cut_power(TOPOLOGY, NODE)
    assert direct.asked == [(["lb1_0", "lb1_1"], "rackbox-small/lb1/lxc.payload.lb1")]
    assert bool(scripts) is broken


def test_others_than_the_power_switch_use_the_script(scripts: list[str]) -> None:
    LxcProvider().cut_power(TOPOLOGY, NODE)
    assert "cgroup.kill" in scripts[0]


def test_where_there_is_no_place_there_is_no_direct_way(tmp_path: Path) -> None:
    assert try_direct_cut(Place("none", tmp_path)) is None

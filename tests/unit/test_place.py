"""A mount namespace is kept although the kernel would have it on one CPU only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from rackbox import place
from rackbox.errors import CommandFailed

MAKE = ["unshare", "--mount=/run/rackbox/x/ns/mnt", "true"]
EINVAL = "unshare: mount /proc/1/ns/mnt on /run/rackbox/x/ns/mnt failed: Invalid argument"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 1})
    return []


def answer(monkeypatch: pytest.MonkeyPatch, calls: list[list[str]], good: Sequence[str], said: str = EINVAL) -> None:
    def run(argv: Sequence[str], **_: Any) -> None:
        calls.append(list(argv))
        if list(argv) != [*good, *MAKE]:
            raise CommandFailed(said)

    monkeypatch.setattr(place, "run", run)


def test_once_is_enough_where_the_kernel_agrees(monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]) -> None:
    answer(monkeypatch, calls, good=[])
    place._run_on_the_right_cpu(MAKE)
    assert calls == [MAKE]


def test_each_cpu_is_tried(monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]) -> None:
    right = ["taskset", "--cpu-list", "3"]
    answer(monkeypatch, calls, good=right)
    place._run_on_the_right_cpu(MAKE)
    assert calls == [MAKE, ["taskset", "--cpu-list", "1", *MAKE], [*right, *MAKE]]


def test_none_is_right(monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]) -> None:
    answer(monkeypatch, calls, good=["nowhere"])
    with pytest.raises(CommandFailed, match="Invalid argument"):
        place._run_on_the_right_cpu(MAKE)
    assert len(calls) == 3


def test_another_failure_is_told_at_once(monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]) -> None:
    answer(monkeypatch, calls, good=["nowhere"], said="unshare: unshare failed: Operation not permitted")
    with pytest.raises(CommandFailed, match="not permitted"):
        place._run_on_the_right_cpu(MAKE)
    assert calls == [MAKE]


def test_an_address_that_stays_is_one_that_nobody_was_sold() -> None:
    first = int(place.stable_mac("rackbox-default/mgmt").partition(":")[0], 16)
    assert (first & 1, first & 2) == (0, 2), "unicast, locally administered"
    assert place.stable_mac("rackbox-default/mgmt") == place.stable_mac("rackbox-default/mgmt")
    assert place.stable_mac("rackbox-default/mgmt") != place.stable_mac("rackbox-default/dmz")

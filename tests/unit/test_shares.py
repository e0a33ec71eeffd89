"""Who boots has less of the processors, and as much as others afterwards; what a unit has set for itself stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rackbox.lab import open_lab
from rackbox.paths import PROJECT
from rackbox.providers.lxc import LxcProvider
from rackbox.shares import BOOT_NICE, BOOT_WEIGHT, renice, threads_of_group, threads_of_process, weigh

SET_BY_ITSELF = -15


class Kernel:
    """Nice values by thread, in place of this computer's. ``ended``: gone when asked about; ``foreign``: not ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, values: dict[int, int]) -> None:
        self.values, self.ended, self.foreign = values, set[int](), set[int]()
        monkeypatch.setattr(os, "getpriority", self._get)
        monkeypatch.setattr(os, "setpriority", self._set)

    def _get(self, which: int, thread: int) -> int:
        assert which == os.PRIO_PROCESS
        if thread in self.ended:
            raise ProcessLookupError
        return self.values[thread]

    def _set(self, _: int, thread: int, value: int) -> None:
        if thread in self.foreign:
            raise PermissionError
        self.values[thread] = value


def test_only_what_has_the_value_gets_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, {1: BOOT_NICE, 2: SET_BY_ITSELF, 3: 0, 4: BOOT_NICE, 5: BOOT_NICE})
    kernel.ended.add(4)
    kernel.foreign.add(5)
    assert renice(lambda: sorted(kernel.values), BOOT_NICE, 0) == 1
    assert kernel.values == {1: 0, 2: SET_BY_ITSELF, 3: 0, 4: BOOT_NICE, 5: BOOT_NICE}


def test_threads_that_are_begun_meanwhile_are_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, {1: BOOT_NICE})

    def threads() -> Iterator[int]:
        yield from sorted(kernel.values)
        if 2 not in kernel.values:  # begun by 1, before it was its turn
            kernel.values[2] = BOOT_NICE

    assert renice(threads, BOOT_NICE, 0) == 2
    assert set(kernel.values.values()) == {0}


def test_a_machine_that_begins_threads_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, {})

    def threads() -> Iterator[int]:
        kernel.values[len(kernel.values)] = BOOT_NICE
        yield from sorted(kernel.values)

    assert 0 < renice(threads, BOOT_NICE, 0) < 100


def test_a_lab_s_threads_are_those_of_its_control_group(tmp_path: Path) -> None:
    groups = {
        10: "0::/rackbox-a/lb1/lxc.payload.lb1/system.slice/etcd.service\n",
        20: "1:cpu:/\n0::/rackbox-ab/lb1\n",  # another lab, whose name begins alike
        30: "9:name=systemd:/outer/rackbox-a/lb1\n0::/\n",
        40: "0::/user.slice\n",
    }
    for pid, group in groups.items():
        for thread in (pid, pid + 1):
            (tmp_path / str(pid) / "task" / str(thread)).mkdir(parents=True)
        (tmp_path / str(pid) / "cgroup").write_text(group)
    (tmp_path / "50").mkdir()  # it ends as it is looked at
    (tmp_path / "self").symlink_to("10")
    assert sorted(threads_of_group("rackbox-a", tmp_path)) == [10, 11, 30, 31]
    assert sorted(threads_of_group("rackbox-a/lb1", tmp_path)) == [10, 11, 30, 31]
    assert list(threads_of_group("lb1/lxc", tmp_path)) == []
    assert list(threads_of_process(50, tmp_path)) == []


def groups(top: Path, kind: str, options: str, *files: str) -> None:
    """This computer's control groups in ``top``, mounted beside something else; ``files`` are the cpu controller's."""
    for file in files:
        (top / "cpu" / file).parent.mkdir(parents=True)
        (top / "cpu" / file).write_text("as it was")
    lines = [f"cgroup {top}/memory cgroup rw,memory 0 0", f"cgroup {top}/cpu {kind} {options} 0 0"]
    (top / "self").mkdir()
    (top / "self" / "mounts").write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("kind", "options", "file", "less", "like_others"),
    [
        ("cgroup", "rw,cpu,cpuacct", "cpu.shares", "102", "1024"),
        ("cgroup2", "rw,nsdelegate", "cpu.weight", "10", "100"),
    ],
)
def test_a_control_group_is_weighed(
    tmp_path: Path, kind: str, options: str, file: str, less: str, like_others: str
) -> None:
    groups(tmp_path, kind, options, f"rackbox-a/lb1/{file}", f"rackbox-a/lb2/{file}")
    own, other = (tmp_path / "cpu" / "rackbox-a" / name / file for name in ("lb1", "lb2"))
    weigh("rackbox-a/lb1", BOOT_WEIGHT, tmp_path)
    assert own.read_text() == less
    weigh("rackbox-a/lb1", 1, tmp_path)
    assert own.read_text() == like_others
    assert other.read_text() == "as it was"


def test_where_processors_are_not_divided_by_groups_nothing_happens(tmp_path: Path) -> None:
    groups(tmp_path, "cgroup2", "rw", "rackbox-a/lb1/cgroup.procs")
    weigh("rackbox-a/lb1", BOOT_WEIGHT, tmp_path)
    weigh("rackbox-b/lb1", BOOT_WEIGHT, tmp_path)
    assert [path.name for path in (tmp_path / "cpu").rglob("*")] == ["rackbox-a", "lb1", "cgroup.procs"]


@pytest.mark.parametrize("was_off", [True, False])
def test_only_who_was_off_has_less(monkeypatch: pytest.MonkeyPatch, was_off: bool) -> None:
    slow: list[str] = []
    monkeypatch.setattr("rackbox.lab.plug_in", lambda *_: None)
    monkeypatch.setattr(LxcProvider, "power_on", lambda *_: was_off)
    monkeypatch.setattr(LxcProvider, "slow_down", lambda _, __, node, ___: slow.append(node.name))
    open_lab(PROJECT / "config/default.yaml", provider="lxc").machine("lb1").power_on()
    assert slow == ["lb1"] * was_off

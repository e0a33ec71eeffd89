"""Who boots has less of the processors, and as much as others afterwards; what a unit has set for itself stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rackbox.shares import BOOT_NICE, BOOT_WEIGHT, renice, threads_of_group, threads_of_process, weigh

SERVED_BY_ITSELF = -15


class Kernel:
    """Nice values by thread, in place of this computer's. ``ended``: threads that are gone when asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, values: dict[int, int]) -> None:
        self.values, self.ended = values, set[int]()
        monkeypatch.setattr(os, "getpriority", self._get)
        monkeypatch.setattr(os, "setpriority", self._set)

    def _get(self, which: int, thread: int) -> int:
        assert which == os.PRIO_PROCESS
        if thread in self.ended:
            raise ProcessLookupError
        return self.values[thread]

    def _set(self, _: int, thread: int, value: int) -> None:
        self.values[thread] = value


def test_only_what_has_the_value_gets_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, {1: BOOT_NICE, 2: SERVED_BY_ITSELF, 3: 0, 4: BOOT_NICE})
    kernel.ended.add(4)
    assert renice(lambda: sorted(kernel.values), BOOT_NICE, 0) == 1
    assert kernel.values == {1: 0, 2: SERVED_BY_ITSELF, 3: 0, 4: BOOT_NICE}


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
    assert list(threads_of_process(50, tmp_path)) == []


def groups(top: Path, kind: str, options: str, file: str, value: str, *names: str) -> Path:
    """A mounted hierarchy with these groups, and another one; returns the file that lists the two."""
    for name in names:
        (top / "cpu" / name).mkdir(parents=True)
        (top / "cpu" / name / file).write_text(value)
    mounts = top / "mounts"
    other = "cgroup" if kind == "cgroup" else "tmpfs"
    lines = [
        f"cgroup {top}/memory {other} rw,memory 0 0",
        f"cgroup {top}/cpu {kind} {options} 0 0",
        "proc /proc proc rw 0 0",
    ]
    mounts.write_text("".join(f"{line}\n" for line in lines))
    return mounts


@pytest.mark.parametrize(
    ("kind", "options", "file", "begun", "booting", "many"),
    [
        ("cgroup", "rw,cpu,cpuacct", "cpu.shares", "1024", "102", "65536"),
        ("cgroup2", "rw,nsdelegate", "cpu.weight", "100", "10", "6400"),
    ],
)
def test_a_control_group_is_weighed(
    tmp_path: Path, kind: str, options: str, file: str, begun: str, booting: str, many: str
) -> None:
    mounts = groups(tmp_path, kind, options, file, begun, "rackbox-a", "rackbox-a/lb1", "rackbox-a/lb2")
    weigh("rackbox-a/lb1", BOOT_WEIGHT, mounts)
    weigh("rackbox-a", 64, mounts)
    lab = tmp_path / "cpu" / "rackbox-a"
    assert [(lab / name / file).read_text() for name in ("lb1", "lb2", ".")] == [booting, begun, many]


def test_where_processors_are_not_divided_by_groups_nothing_happens(tmp_path: Path) -> None:
    mounts = groups(tmp_path, "cgroup2", "rw", "cgroup.procs", "", "rackbox-a")
    weigh("rackbox-a", BOOT_WEIGHT, mounts)
    weigh("rackbox-b", BOOT_WEIGHT, mounts)
    assert [path.name for path in (tmp_path / "cpu").rglob("*")] == ["rackbox-a", "cgroup.procs"]

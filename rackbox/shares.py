"""How much of this computer's processors a machine has that boots among others which serve.

With real machines nobody feels another one boot. Here a master that comes back takes both of two processors for a
minute, and clients of the others get no answer in time. So a cluster's node whose plug is put back has what others
leave, until the lab is healthy; then all have the same again.

There are two ways, since nice values count among the processes of one group alone (sched(7)): by them where machines
have no groups of their own for processors (``rackbox.limits`` turns the automatic ones off), and by the groups' weight
where they have.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

BOOT_NICE = 11
"""Less than a tenth of the weight of what has 0 (each step is a factor of 1.25). Not 10, which is what nice(1) gives:
it is how the threads are found again."""
BOOT_WEIGHT = 0.1
"""The same for a control group, beside 1 for others."""
PROC = Path("/proc")
_ROUNDS = 5


def renice(threads: Callable[[], Iterable[int]], before: int, after: int) -> int:
    """Give every one of ``threads`` (kernel thread IDs) that has the nice value ``before`` the value ``after``, and
    leave alone what has set another for itself (a unit's ``Nice=``). Returns how many there were. Asks for the threads
    again until none is left: one may have begun another meanwhile."""
    total = 0
    for _ in range(_ROUNDS):
        changed = sum(_renice_one(thread, before, after) for thread in threads())
        total += changed
        if not changed:
            break
    return total


def weigh(group: str, weight: float, proc: Path = PROC) -> None:
    """Give the control group ``group`` (its path below the root) a weight among those beside it, where 1 is what the
    kernel begins with. Nothing happens where there is no such group that processors are divided by."""
    for line in (proc / "self" / "mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            file, value = Path(place, group, "cpu.shares"), 1024 * weight
        elif kind == "cgroup2":
            file, value = Path(place, group, "cpu.weight"), 100 * weight
        else:
            continue
        if file.exists():
            with contextlib.suppress(OSError):  # the machine has ended meanwhile
                file.write_text(str(round(value)))


def threads_of_group(group: str, proc: Path = PROC) -> Iterable[int]:
    """Those of all processes in the control group ``group`` (its path below the root), or below it."""
    for process in proc.iterdir():
        if process.name.isdecimal() and _is_in(process, group):
            yield from threads_of_process(int(process.name), proc)


def threads_of_process(pid: int, proc: Path = PROC) -> Iterable[int]:
    """None of one that has ended."""
    try:
        return [int(name) for name in os.listdir(proc / str(pid) / "task")]
    except OSError:
        return []


def _is_in(process: Path, group: str) -> bool:
    """In any of its hierarchies. Paths begin at the root of the control groups that this process sees."""
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except OSError:  # it has ended
        return False
    return any(f"/{group}/" in f"{line.split(':', 2)[-1]}/" for line in lines)


def _renice_one(thread: int, before: int, after: int) -> bool:
    try:
        if os.getpriority(os.PRIO_PROCESS, thread) != before:
            return False
        os.setpriority(os.PRIO_PROCESS, thread, after)
    except OSError:  # it has ended, or is not ours
        return False
    return True

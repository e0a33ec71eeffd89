"""Which arrangement of control groups a host has, from its mounts."""

from __future__ import annotations

import pytest

from rackbox.cgroups import arrange_script, find_view

V2 = """\
sysfs /sys sysfs rw,nosuid,nodev,noexec,relatime 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate,memory_recursiveprot 0 0
"""
HYBRID = """\
tmpfs /sys/fs/cgroup tmpfs ro,nosuid,nodev,noexec,mode=755 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,nosuid,nodev,noexec,relatime,xattr,name=systemd 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,nodev,noexec,relatime,memory 0 0
"""
V1 = """\
tmpfs /sys/fs/cgroup tmpfs ro,nosuid,nodev,noexec,mode=755 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,nodev,noexec,relatime,memory 0 0
"""


@pytest.mark.parametrize(
    ("mounts", "view"),
    [(V2, "v2"), (HYBRID, "hybrid-v2"), (V1, "v1-only"), ("", "v1-only"), ("\n\nshort line\n", "v1-only")],
)
def test_the_view_of_a_host(mounts: str, view: str) -> None:
    assert find_view(mounts) == view


def test_a_lab_gets_v2_on_a_fresh_sysfs() -> None:
    lines = arrange_script().splitlines()
    assert lines[-2].startswith("mount -t sysfs")
    assert lines[-1].endswith("/sys/fs/cgroup")

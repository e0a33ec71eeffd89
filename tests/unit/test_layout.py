"""The disk of a virtual machine's box as data: what is read, what is refused, and what the sums come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackbox.errors import ConfigError
from rackbox.layout import ESP_LABEL, EXTENT_MIB, load_layout, render_disk

GOOD = """\
disk: 8G
esp: 64M
boot: 512M
group: vg
volumes:
  var: {mount: /var, size: 2G}
  root: {mount: /, size: 1G}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "layout.yaml"
    path.write_text(text)
    return path


def test_the_shipped_layout_has_every_volume_and_leaves_room() -> None:
    layout = load_layout()
    mounts = {volume.name: volume.mount for volume in layout.volumes}
    assert mounts == {"root": "/", "usr": "/usr", "var": "/var", "opt": "/opt", "tmp": "/tmp", "home": "/home"}
    assert layout.free_mib > layout.disk_mib // 2, "machines have volumes of their own"


def test_sums(tmp_path: Path) -> None:
    layout = load_layout(written(tmp_path, GOOD))
    # 8192 less a MiB at each end, 1 + 64 + 512 for the other partitions, 1 for LVM's records
    assert layout.extents == (8192 - 2 - 577 - 1) // EXTENT_MIB
    assert layout.free_mib == layout.extents * EXTENT_MIB - 3072
    assert layout.device("var") == "/dev/mapper/vg-var"


def test_what_is_mounted_first_comes_first(tmp_path: Path) -> None:
    layout = load_layout(written(tmp_path, GOOD))
    assert [volume.name for volume in layout.volumes] == ["root", "var"]
    fstab = [line.split() for line in render_disk(layout)["tree/etc/fstab"].splitlines() if line[0] != "#"]
    assert [fields[1] for fields in fstab] == ["/", "/boot", "/var", "/boot/efi"]
    assert all(len(fields) == 6 for fields in fstab)


def test_the_last_partition_takes_the_rest(tmp_path: Path) -> None:
    lines = render_disk(load_layout(written(tmp_path, GOOD)))["partitions.sfdisk"].splitlines()
    assert len(lines) == 5
    assert ["size=" in line for line in lines[1:]] == [True, True, True, False]


def test_a_label_that_fat_can_hold() -> None:
    assert len(ESP_LABEL) <= 11
    assert ESP_LABEL == ESP_LABEL.upper()


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "words"),
    [
        ("disk: 8G", "disk: 8", 1, "disk", "must be a size"),
        ("disk: 8G", "disk: 1G", 1, "disk", "must be from 4G to 2T; got 1G"),
        ("boot: 512M", "boot: 128M", 3, "boot", "must be from 256M to 4G; got 128M"),
        ("size: 2G", "size: 2049M", 6, "volumes.var.size", "must be whole 4 MiB"),
        ("group: vg", "group: v-g", 4, "group", "must be a name of a-z"),
        ("group: vg", "grup: vg", 4, "grup", "group"),
        ("size: 2G", "size: 2", 6, "volumes.var.size", "must be a size"),
        ("mount: /var", "mount: var", 6, "volumes.var.mount", "must be an absolute path"),
        ("mount: /var", "mount: /a/../b", 6, "volumes.var.mount", "must be an absolute path"),
        ("mount: /var", "mount: /var/log", 6, "volumes.var.mount", "must be a directory at the top"),
        ("mount: /var", "mount: /boot", 6, "volumes.var.mount", "must be a path of its own; got /boot"),
        ("mount: /var", "mount: /", 7, "volumes.root.mount", "must be a path of its own; got /"),
        ("size: 2G", "size: 7G", 5, "volumes", "must fit into the group, which has 7612M on a disk of 8G; got 8G"),
        ("  root:", "  boot:", 5, "volumes", "must have a volume root at /"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, line: int, path: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load_layout(written(tmp_path, GOOD.replace(old, new)))
    problem = next(problem for problem in caught.value.problems if problem.path == path)
    assert problem.line == line
    assert words in problem.text

"""What is made of a virtual machine's own words: clean ones, and each thing that can be wrong with a disk."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from rackbox.layout import load_layout
from rackbox.machinesmoke import judge_box, read_analyze, read_figures, slowest

LAYOUT = load_layout()


def words(number: int) -> dict[str, Any]:
    """As ``SCRIPT`` prints it."""
    sources = {volume.mount: LAYOUT.device(volume.name) for volume in LAYOUT.volumes} | {"/boot": "/dev/vda3"}
    rows = [{"target": mount, "source": source} for mount, source in sources.items()]
    group = {
        "vg_name": LAYOUT.group,
        "vg_extent_count": str(LAYOUT.extents),
        "vg_free_count": str(LAYOUT.free_mib // 4),
    }
    volumes = [{"lv_name": volume.name, "lv_size": str(volume.size_mib << 20)} for volume in LAYOUT.volumes]
    return {
        "machine_id": f"id{number}",
        "state": "running",
        "failed": [],
        "cloud_init": {"status": "done", "errors": []},
        "mounts": list(sources),
        "host_keys": [f"SHA256:{number}"],
        "lvm": {"report": [{"vg": [group], "lv": volumes}]},
        "filesystems": {"filesystems": rows},
        "fstab": {"filesystems": copy.deepcopy(rows)},
        "verify": "Success, no errors or warnings detected",
        "uptime": 20.5,
        "ends": {
            "cloud-init.target": 15.25,
            "cloud-init-network.service": 12.5,
            "ssh.service": 9.0,
            "multi-user.target": 0,
        },
        "early": ["10.0.2.15"],
        "addresses": ["10.0.2.15"],
        "analyze": "Startup finished in 2.1s (kernel) + 3s (initrd) + 12.2s (userspace) = 17.3s \nmore",
        "blame": "  3.1s cloud-init-main.service\n 1.0s  b.service",
    }


def test_two_clean_machines() -> None:
    assert judge_box(LAYOUT, {"a": words(1), "b": words(2)}) == []


def test_two_machines_that_are_each_other() -> None:
    problems = judge_box(LAYOUT, {"a": words(1), "b": words(1)})
    assert problems == ["a, b: the same machine-id", "a, b: the same SSH host key"]


def _no_group(said: dict[str, Any]) -> None:
    said["lvm"] = {"report": []}


def _small(said: dict[str, Any]) -> None:
    said["lvm"]["report"][0]["lv"][0]["lv_size"] = str(1 << 30 >> 1)


def _one_less(said: dict[str, Any]) -> None:
    del said["lvm"]["report"][0]["lv"][-1]


def _full(said: dict[str, Any]) -> None:
    said["lvm"]["report"][0]["vg"][0]["vg_free_count"] = "0"


def _other_disk(said: dict[str, Any]) -> None:
    said["lvm"]["report"][0]["vg"][0]["vg_extent_count"] = "9"


def _elsewhere(said: dict[str, Any]) -> None:
    said["filesystems"]["filesystems"][1]["source"] = "/dev/vda4"


def _boot_inside(said: dict[str, Any]) -> None:
    said["filesystems"]["filesystems"][-1]["source"] = "/dev/mapper/rackbox-boot"


def _forgotten(said: dict[str, Any]) -> None:
    said["fstab"] = {"filesystems": said["fstab"]["filesystems"][:-2]}


def _bad_fstab(said: dict[str, Any]) -> None:
    said["verify"] = "/srv\n   [E] unreachable: nowhere\n0 parse errors, 1 error, 0 warnings"


def _unmounted(said: dict[str, Any]) -> None:
    said["mounts"].remove("/var")


def _waited(said: dict[str, Any]) -> None:
    said["ends"]["ssh.service"] = 13.5


def _late(said: dict[str, Any]) -> None:
    said["early"] = [""]


def _twice(said: dict[str, Any]) -> None:
    said["addresses"] *= 2


def _warned(said: dict[str, Any]) -> None:
    said["cloud_init"]["recoverable_errors"] = {"WARNING": ["no such key"]}


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_no_group, "LVM: must have the group rackbox alone; got none"),
        (_small, "LVM: root must have 1024 MiB; got 512 MiB"),
        (_one_less, "LVM: home must have 512 MiB; got nothing"),
        (_full, f"LVM: {LAYOUT.free_mib // 4} extents must be free; got 0"),
        (_other_disk, f"LVM: the group must have {LAYOUT.extents} extents; got 9"),
        (_elsewhere, "/usr: must be /dev/mapper/rackbox-usr; got /dev/vda4"),
        (_boot_inside, "/boot: must be a partition of its own"),
        (_forgotten, "fstab: /home must be there; got nothing"),
        (_bad_fstab, "fstab: 0 parse errors, 1 error, 0 warnings"),
        (_waited, "SSH: must not wait for cloud-init; got SSH after 13.5 s, cloud-init's network stage after 12.5 s"),
        (_late, "network: the initramfs must set the only address; got [''] from it, ['10.0.2.15'] in the end"),
        (
            _twice,
            "network: the initramfs must set the only address; got ['10.0.2.15'] from it, "
            "['10.0.2.15', '10.0.2.15'] in the end",
        ),
        (_unmounted, "/var: its volume is not mounted"),
        (_warned, "cloud-init: WARNING: no such key"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong(spoil: Callable[[dict[str, Any]], None], expected: str) -> None:
    bad = copy.deepcopy(words(2))
    spoil(bad)
    assert judge_box(LAYOUT, {"a": words(1), "b": bad}) == [f"b: {expected}"]


def test_figures_are_counted_from_power_on() -> None:
    figures = read_figures(words(1), asked_s=24.0, banner_s=14.26)
    assert figures == {"kernel_s": 3.5, "ssh_s": 14.3, "cloud_init_done_s": 18.8, "ssh_done_s": 12.5}


def test_what_systemd_says() -> None:
    assert read_analyze(words(1)) == "2.1s (kernel) + 3s (initrd) + 12.2s (userspace) = 17.3s "
    assert slowest(words(1)) == ["3.1s cloud-init-main.service", "1.0s b.service"]

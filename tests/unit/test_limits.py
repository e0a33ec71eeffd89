"""The host's limits: raised for labs, remembered, put back, and left alone where somebody else has set them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackbox.limits import NEEDED, NO_AUTOGROUPS, raise_limits, restore_limits

INSTANCES, WATCHES = NEEDED


@pytest.fixture
def sysctl(tmp_path: Path) -> Path:
    root = tmp_path / "sys"
    for name, value in ((INSTANCES, 128), (WATCHES, 1 << 20)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{value}\n")
    return root


def read(sysctl: Path) -> dict[str, int]:
    return {name: int((sysctl / name).read_text()) for name in NEEDED}


def test_only_what_is_too_low_is_raised(tmp_path: Path, sysctl: Path) -> None:
    record = tmp_path / "run" / "limits.json"
    assert raise_limits(record, sysctl) == {"fs.inotify.max_user_instances": 4096}
    assert read(sysctl) == {INSTANCES: 4096, WATCHES: 1 << 20}
    assert raise_limits(record, sysctl) == {}


def test_raised_and_restored_leaves_nothing(tmp_path: Path, sysctl: Path) -> None:
    record = tmp_path / "limits.json"
    before = read(sysctl)
    raise_limits(record, sysctl)
    restore_limits(record, sysctl)
    assert read(sysctl) == before
    assert not record.exists()
    restore_limits(record, sysctl)


def test_a_second_lab_does_not_forget_the_first_values(tmp_path: Path, sysctl: Path) -> None:
    record = tmp_path / "limits.json"
    raise_limits(record, sysctl)
    (sysctl / INSTANCES).write_text("200")  # somebody lowers it meanwhile
    raise_limits(record, sysctl)
    restore_limits(record, sysctl)
    assert read(sysctl)[INSTANCES] == 128


def test_what_somebody_else_has_set_since_stays(tmp_path: Path, sysctl: Path) -> None:
    record = tmp_path / "limits.json"
    raise_limits(record, sysctl)
    (sysctl / INSTANCES).write_text("9000")
    restore_limits(record, sysctl)
    assert read(sysctl)[INSTANCES] == 9000


def test_nothing_raised_nothing_recorded(tmp_path: Path, sysctl: Path) -> None:
    (sysctl / INSTANCES).write_text("8192")
    assert raise_limits(tmp_path / "limits.json", sysctl) == {}
    assert not (tmp_path / "limits.json").exists()


def test_a_record_that_was_cut_off_stops_nobody(tmp_path: Path, sysctl: Path) -> None:
    """Written while the disk was full, or the power failed: the old values are lost, the lab is not."""
    record = tmp_path / "limits.json"
    record.write_text('{"fs/ino')
    raise_limits(record, sysctl)
    assert read(sysctl)[INSTANCES] == 4096
    record.write_text("")
    restore_limits(record, sysctl)
    assert not record.exists()


def test_autogroups_are_off_while_there_are_labs(tmp_path: Path, sysctl: Path) -> None:
    (name,) = NO_AUTOGROUPS
    setting, record = sysctl / name, tmp_path / "limits.json"
    setting.parent.mkdir()
    setting.write_text("1\n")
    assert raise_limits(record, sysctl)["kernel.sched_autogroup_enabled"] == 0
    assert raise_limits(record, sysctl) == {}
    assert setting.read_text() == "0"
    restore_limits(record, sysctl)
    assert setting.read_text() == "1"


def test_a_host_without_them_keeps_them_off(tmp_path: Path, sysctl: Path) -> None:
    (name,) = NO_AUTOGROUPS
    (sysctl / name).parent.mkdir()
    (sysctl / name).write_text("0\n")
    raise_limits(tmp_path / "limits.json", sysctl)
    restore_limits(tmp_path / "limits.json", sysctl)
    assert (sysctl / name).read_text() == "0\n"

"""KVM counts only where a guest ran, and ran faster than emulation."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rackbox import kvm
from rackbox.kvm import Kvm, boot_sector, compare, prove_kvm, try_accelerator


def test_a_boot_sector_is_one() -> None:
    sector = boot_sector()
    assert len(sector) == 512
    assert sector.endswith(b"\x55\xaa")


@pytest.mark.parametrize(
    ("there", "emulated", "works"),
    [
        (Kvm(True, "", 0.1), Kvm(True, "", 0.4), True),
        (Kvm(True, "", 0.5), Kvm(True, "", 0.4), True),
        (Kvm(True, "", 4.5), Kvm(True, "", 0.4), False),
        (Kvm(True, "", 4.5), Kvm(False, "", 0.0), True),
        (Kvm(False, "no answer", 0.0), Kvm(True, "", 0.4), False),
    ],
)
def test_kvm_that_is_slower_than_emulation_does_not_work(there: Kvm, emulated: Kvm, works: bool) -> None:
    found = compare(there, emulated)
    assert found.works is works
    assert found.works or found.reason


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    monkeypatch.setattr(kvm, "DEVICE", path)
    monkeypatch.setattr("rackbox.kvm.shutil.which", lambda name: "/bin/true")
    return path


def test_no_device_no_kvm(device: Path, tmp_path: Path) -> None:
    device.unlink()
    assert prove_kvm(tmp_path / "record.json").reason.startswith("no ")


def test_it_is_asked_once(device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(accelerator: str, timeout: float = 0) -> Kvm:
        asked.append(accelerator)
        return Kvm(accelerator == "tcg", "tried", 0.4)

    monkeypatch.setattr(kvm, "try_accelerator", answer)
    record = tmp_path / "record.json"
    first = prove_kvm(record)
    assert (first.works, first.reason) == (False, "tried")
    assert prove_kvm(record).reason == "tried"
    assert sorted(asked) == ["kvm", "tcg"]
    record.write_text("{half")
    prove_kvm(record)
    assert sorted(asked) == ["kvm", "kvm", "tcg", "tcg"]


@pytest.mark.subprocess
def test_a_qemu_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "qemu"
    fake.write_text("#!/bin/sh\nexec sleep 30\n")
    fake.chmod(0o755)
    monkeypatch.setattr(kvm, "QEMU", str(fake))
    found = try_accelerator("kvm", timeout=0.3)
    assert not found.works
    assert "no answer within 0.3 s" in found.reason


@pytest.mark.subprocess
def test_a_qemu_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "qemu"
    fake.write_text("#!/bin/sh\necho 'could not access KVM kernel module' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(kvm, "QEMU", str(fake))
    assert try_accelerator("kvm").reason == "could not access KVM kernel module"


@pytest.mark.consumer
def test_the_sector_runs_where_qemu_is() -> None:
    if not kvm.qemu_version():
        pytest.skip("no QEMU here")
    assert subprocess.run([kvm.QEMU, "--version"], capture_output=True, check=True)
    assert try_accelerator("tcg", timeout=30).works

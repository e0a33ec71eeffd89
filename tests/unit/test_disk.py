"""What is kept of a tree and a disk, and when it is taken again; how a smoke machine is started."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rackbox import bootproof, disk
from rackbox.bootproof import Hardware
from rackbox.disk import DISK, TREE, Making, kept_disk, make_disk
from rackbox.errors import MachineError
from rackbox.layout import load_layout
from rackbox.manifest import Package, Resolved
from rackbox.paths import Home

LAYOUT = load_layout()


class Recipe:
    """Stands in for Packer: what was built, and what the recipe's files are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.built: list[str] = []
        self.digests = {"rootfs": "1", "disk": "1"}
        self.version = "1"
        self._home = Home(tmp_path / "data", tmp_path / "run")
        self._number = 0
        self._top = tmp_path
        monkeypatch.setattr(disk, "run_packer", self._lay_out)

    def make(self, epoch: int = 7) -> Path:
        self._number += 1
        work = self._top / str(self._number)
        (work / "out").mkdir(parents=True)
        console = Console(file=io.StringIO())
        making = Making(self._home, "debian-13", work, work / "out", work / "log", epoch, console)
        packages = {"jq": Package("jq", self.version, "amd64")}
        self.built = []
        make_disk(making, Resolved(packages, ()), LAYOUT, lambda path: self.digests[path.name], self._build_tree)
        return work / "out"

    def kept(self) -> Path:
        return kept_disk(self._home, "debian-13")

    def _build_tree(self, out: Path, kernel_files: Path) -> None:
        assert "rackbox-root / ext4" in (kernel_files / "etc/fstab").read_text()
        assert (kernel_files / "etc/initramfs-tools/hooks/rackbox").stat().st_mode & 0o100
        self.built.append("tree")
        for name in TREE:
            (out / name).write_text(f"{name} {self._number}")

    def _lay_out(self, _recipe: Path, _only: str, variables: dict[str, Path], **_: object) -> None:
        assert (variables["rendered"] / "partitions.sfdisk").read_text().startswith("label: gpt")
        self.built.append("disk")
        for name in DISK:
            (variables["output"] / name).write_text(f"{name} {self._number}")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recipe:
    return Recipe(monkeypatch, tmp_path)


def test_the_next_providers_box_is_of_the_same_disk(recipe: Recipe) -> None:
    first = recipe.make()
    assert recipe.built == ["tree", "disk"]
    again = recipe.make()
    assert recipe.built == []
    for name in (*TREE, *DISK):
        assert (again / name).read_text() == (first / name).read_text()


def test_each_change_builds_what_hangs_on_it(recipe: Recipe) -> None:
    recipe.make()
    recipe.digests["disk"] = "2"
    recipe.make()
    assert recipe.built == ["disk"], "another layout takes no new tree"
    recipe.digests["rootfs"] = "2"
    recipe.make()
    assert recipe.built == ["tree", "disk"]
    recipe.version = "2"
    recipe.make()
    assert recipe.built == ["tree", "disk"]
    recipe.make(epoch=8)
    assert recipe.built == ["tree", "disk"]


def test_what_is_lost_of_it_is_built_again(recipe: Recipe) -> None:
    recipe.make()
    (recipe.kept() / "disk.qcow2").unlink()
    recipe.make()
    assert recipe.built == ["disk"]


def _argv(hardware: Hardware) -> list[str]:
    return bootproof._argv("clone1", Path("/p"), Path("/p/clone.qcow2"), Path("/p/console.log"), hardware)


def test_a_smoke_machine_has_no_screen_and_no_way_out() -> None:
    text = " ".join(_argv(Hardware()))
    assert "-nodefaults" in text
    assert "-display none" in text
    assert "VGA" not in text
    assert "-serial file:/p/console.log" in text
    assert "-netdev tap," in text, "in a network namespace of its own"
    assert text.count("-netdev") == 1


@pytest.mark.parametrize(
    ("kind", "device"),
    [("virtio", "virtio-blk-pci,drive=disk"), ("ahci", "ide-hd,drive=disk"), ("scsi", "scsi-hd,drive=disk")],
)
def test_the_seed_is_a_disk_that_every_release_sees(kind: str, device: str) -> None:
    text = " ".join(_argv(replace(Hardware(), disk=kind)))
    assert "seed.iso,format=raw,if=none,id=seed,readonly=on -device virtio-blk-pci,drive=seed" in text
    assert device in text


def test_two_machines_have_other_cards_and_ids() -> None:
    assert bootproof._mac("clone1") != bootproof._mac("clone2")
    assert _argv(Hardware()) != _argv(Hardware()), "a new UUID each time"


def test_the_manifest_has_the_table() -> None:
    (group,) = json.loads(json.dumps(LAYOUT.table()))
    assert group["group"] == "rackbox"
    assert sum(row["size_mib"] for row in group["volumes"]) + group["free_mib"] == group["extents"] * 4


def _boots(outcomes: list[str], asked: list[str]) -> Callable[..., bootproof.Clone]:
    def boot(disk: Path, work: Path, name: str, hardware: Hardware) -> bootproof.Clone:
        asked.append(name)
        (work / f"{name}.console.log").write_text(outcomes[0])
        if outcomes.pop(0) == "panic":
            raise bootproof._PanicError(f"{name}: its kernel panicked")
        return bootproof.Clone({}, 1.0, 2.0)

    return boot


def test_an_emulated_kernel_that_panics_is_booted_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(bootproof, "_boot_once", _boots(["panic", "well"], asked))
    bootproof.boot_clones(Path("/p/disk.qcow2"), tmp_path, ("clone1",), Hardware())
    assert asked == ["clone1", "clone1"]
    assert (tmp_path / "clone1.panic.log").read_text() == "panic"
    assert (tmp_path / "clone1.console.log").read_text() == "well"


@pytest.mark.parametrize(("accelerator", "boots"), [("tcg,thread=multi", 2), ("kvm", 1)])
def test_a_kernel_that_panics_again_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: str, boots: int
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(bootproof, "_boot_once", _boots(["panic"] * 3, asked))
    with pytest.raises(MachineError, match="panicked"):
        bootproof.boot_clones(Path("/p/d.qcow2"), tmp_path, ("clone1",), Hardware(accelerator=accelerator))
    assert len(asked) == boots

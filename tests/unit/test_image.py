"""What can be said of building a box without building one: its recipe, when nothing is to do, what a refusal leaves."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rackbox import build, builders, gate, image, packer
from rackbox.box import Box, box_path, current_box, list_boxes, sha256_of
from rackbox.build import recipe_digest
from rackbox.catalogue import list_versions, mark_version, roll_back
from rackbox.errors import EXIT_COULD_NOT_RUN, CommandFailed, LabBusy, LabError
from rackbox.gate import GateResult
from rackbox.image import build_image, rebuild
from rackbox.manifest import Package, Resolved
from rackbox.packing import pack
from rackbox.paths import Home

OS = "debian-13"
NOWHERE = Console(file=io.StringIO())


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    root = tmp_path / "recipe"
    (root / "rootfs").mkdir(parents=True)
    (root / "rootfs" / "build.sh").write_text("#!/bin/sh\n")
    (root / "rootfs" / "list.txt").write_text("a\n")
    (root / "rootfs" / "build.sh").chmod(0o755)
    return root


def _content(recipe: Path) -> None:
    (recipe / "rootfs" / "list.txt").write_text("b\n")


def _bit(recipe: Path) -> None:
    (recipe / "rootfs" / "list.txt").chmod(0o755)


def _name(recipe: Path) -> None:
    (recipe / "rootfs" / "list.txt").rename(recipe / "rootfs" / "names.txt")


def _place(recipe: Path) -> None:
    (recipe / "rootfs" / "list.txt").rename(recipe / "list.txt")


def _more(recipe: Path) -> None:
    (recipe / "empty").touch()


def _shift(recipe: Path) -> None:
    """The same bytes in a row, split between the files in another way."""
    (recipe / "rootfs" / "build.sh").write_text("#!/bin/s")
    (recipe / "rootfs" / "list.txt").write_text("h\na\n")


@pytest.mark.parametrize("change", [_content, _bit, _name, _place, _more, _shift], ids=lambda change: change.__name__)
def test_the_digest_feels_every_change(recipe: Path, change: Any) -> None:
    before = recipe_digest(recipe)
    change(recipe)
    assert recipe_digest(recipe) != before


def test_the_digest_does_not_feel_dates_places_and_who_looks(recipe: Path, tmp_path: Path) -> None:
    before = recipe_digest(recipe)
    os.utime(recipe / "rootfs" / "list.txt", (1, 1))
    (recipe / "rootfs" / "list.txt").chmod(0o600)
    assert recipe_digest(recipe.rename(tmp_path / "elsewhere")) == before


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "data", tmp_path / "run")


@pytest.mark.parametrize(
    ("os_name", "provider", "message"),
    [
        ("debian-7", "lxc", r"os: must be one of .*debian-13.*; got debian-7"),
        ("", "lxc", r"os: must be one of"),
        ("../debian-13", "lxc", r"os: must be one of"),
        (OS, "vmware", r"provider: must be one of .*lxc.*; got vmware"),
        (OS, "", r"provider: must be one of"),
    ],
)
def test_a_request_for_what_there_is_not(tmp_path: Path, os_name: str, provider: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        build_image(Home(tmp_path, tmp_path), os_name, provider, NOWHERE)
    assert list(tmp_path.iterdir()) == [], "nothing is made for it"


class Archive:
    """Stands in for Packer: what the archive has now, and the boxes that are built from it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packages = {"haproxy": "3.0.1"}
        self.recipe = "a recipe"
        self.built: list[str] = []
        self.verdict: tuple[str, ...] = ()
        self.proven: list[str] = []
        monkeypatch.setattr(image, "check_build_tools", lambda provider: [])
        monkeypatch.setattr(image, "resolve", lambda *_: self.resolved())
        monkeypatch.setattr(image, "build", self.build)
        monkeypatch.setattr(image, "recipe_digest", lambda: self.recipe)
        monkeypatch.setattr(image, "recipe_revision", lambda: None)
        monkeypatch.setattr(gate, "prove", self.prove)

    def resolved(self) -> Resolved:
        packages = {
            name: Package(name, version, "amd64", "Debian-Security:13/stable-security" if "+deb" in version else "")
            for name, version in self.packages.items()
        }
        return Resolved(packages, ())

    def build(self, home: Home, os_name: str, provider: str, *_: Any) -> Box:
        version = f"2026010{len(self.built) + 1}.1"
        path = box_path(home.boxes, os_name, provider, version)
        path.parent.mkdir(parents=True)
        path.write_text(f"tree {version}")
        packages = [{"name": n, "version": v, "architecture": "amd64"} for n, v in self.packages.items()]
        built = f"2026-01-0{len(self.built) + 1}T00:00:00+00:00"
        box = Box(os_name, provider, version, path, sha256_of(path))
        manifest = {"recipe": self.recipe, "packages": packages, "built": built, "sha256": box.sha256}
        box.manifest.write_text(json.dumps(manifest))
        self.built.append(version)
        return box

    def prove(self, _home: Home, box: Box, _console: Console) -> GateResult:
        assert box not in list_boxes(_home.boxes, box.os, box.provider), "nobody gets it before it is proven"
        self.proven.append(box.version)
        return GateResult(self.verdict, {"haproxy-killed_ms": 123.0})


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    return Archive(monkeypatch)


def again(home: Home, *, if_changed: bool = True, gate: bool = True) -> image.RebuildResult:
    return rebuild(home, OS, "lxc", NOWHERE, if_changed=if_changed, gate=gate)


def states(home: Home) -> dict[str, str]:
    return {item.version: item.state for item in list_versions(home, OS, "lxc")}


def test_the_first_box_is_built_proven_and_current(home: Home, archive: Archive) -> None:
    result = again(home)
    assert (result.changed, result.promoted, result.changes) == (True, True, ())
    assert result.figures == {"haproxy-killed_ms": 123.0}
    assert archive.proven == [result.version]
    assert states(home) == {result.version: "current"}


def test_nothing_is_built_if_it_would_be_the_same(home: Home, archive: Archive) -> None:
    first = again(home)
    result = again(home)
    assert (result.changed, result.promoted, result.version) == (False, False, first.version)
    assert archive.built == [first.version]
    assert again(home, if_changed=False).changed, "asked for without a condition"


def test_a_newer_package_is_named_and_built(home: Home, archive: Archive) -> None:
    again(home)
    archive.packages = {"haproxy": "3.0.1+deb13u1", "jq": "1.7"}
    result = again(home)
    assert result.changes == ("changed  haproxy 3.0.1 → 3.0.1+deb13u1  [security]", "added    jq 1.7")
    assert result.promoted
    assert list(states(home).values()) == ["kept", "current"]


def test_another_recipe_is_a_change(home: Home, archive: Archive) -> None:
    again(home)
    archive.recipe = "other words"
    assert again(home).changes == ("recipe   a recipe → other words",)


@pytest.mark.parametrize("manifest", ["{}", "{", "[]", None])
def test_a_box_whose_manifest_says_nothing_is_built_again(home: Home, archive: Archive, manifest: str | None) -> None:
    box = current_box(home.boxes, OS, "lxc") if again(home) else None
    assert box is not None
    box.manifest.unlink() if manifest is None else box.manifest.write_text(manifest)
    assert again(home).changed


@pytest.mark.parametrize("damage", ["unlink", "write_text"])
def test_a_box_that_cannot_be_booted_is_built_again(home: Home, archive: Archive, damage: str) -> None:
    again(home)
    box = current_box(home.boxes, OS, "lxc")
    assert box is not None
    getattr(box.path, damage)(*(["half"] if damage == "write_text" else []))
    result = again(home)
    assert result.changed
    assert result.changes[0].startswith("damaged")


def test_a_box_that_the_gate_refuses_stays_beside_the_current_one(home: Home, archive: Archive) -> None:
    first = again(home)
    archive.packages = {"haproxy": "4"}
    archive.verdict = ("smoke: lb1: failed units: x.service",)
    result = again(home)
    assert (result.changed, result.promoted, result.problems) == (True, False, archive.verdict)
    assert states(home) == {first.version: "current", result.version: "failed"}
    assert list_versions(home, OS, "lxc")[-1].reason == archive.verdict[0]
    archive.verdict = ()
    assert again(home).promoted, "it is tried again: what was in the way may be gone"


def test_without_the_gate_nothing_is_booted(home: Home, archive: Archive) -> None:
    assert again(home, gate=False).promoted
    assert archive.proven == []


def test_what_was_taken_back_is_not_built_again(home: Home, archive: Archive) -> None:
    first = again(home)
    archive.packages = {"haproxy": "4"}
    second = again(home)
    roll_back(home, OS, "lxc")
    assert states(home) == {first.version: "current", second.version: "withdrawn"}
    assert not again(home).changed
    archive.packages = {"haproxy": "5"}
    third = again(home)
    assert third.promoted
    assert states(home) == {first.version: "kept", second.version: "withdrawn", third.version: "current"}


def test_whoever_has_no_box_gets_one_without_a_gate(home: Home, archive: Archive) -> None:
    box = build_image(home, OS, "auto", NOWHERE)
    assert build_image(home, OS, "lxc", NOWHERE) == box == current_box(home.boxes, OS, "lxc")
    assert (len(archive.built), archive.proven) == (1, [])


def test_two_builders_do_not_meet_and_a_killed_one_s_rest_goes(home: Home, archive: Archive) -> None:
    (home.boxes / f".build-{OS}-killed" / "out").mkdir(parents=True)
    (home.boxes / ".build-other-1-alive").mkdir(parents=True)
    candidate = archive.build(home, OS, "lxc")
    with builders.builder(home, OS), pytest.raises(LabBusy, match="another build of debian-13"):
        again(home)
    assert candidate.path.exists()
    result = again(home)
    assert states(home) == {result.version: "current"}
    left = {entry.name for entry in home.boxes.iterdir()}
    assert left == {f".{OS}.lock", OS, ".build-other-1-alive"}, "another release's builder has its own"


def test_a_mark_is_no_promotion(home: Home, archive: Archive) -> None:
    """What the catalogue does not name is not good, whatever stands beside it."""
    box = archive.build(home, OS, "lxc")
    mark_version(box.path.parent, "current")
    assert states(home) == {box.version: "candidate"}


def test_what_is_mounted_in_a_killed_build_s_rest_is_not_gone_through(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mmdebstrap's /proc and /sys: removing the directory would reach into the computer's own."""
    home = Home(tmp_path / "my home", tmp_path)
    kept = home.boxes / f".build-{OS}-killed" / "tree" / "sys"
    kept.mkdir(parents=True)
    mounts = tmp_path / "mountinfo"
    point = str(kept).replace(" ", "\\040")
    mounts.write_text(f"36 35 98:0 / / rw - ext4 x rw\n37 36 0:3 / {point} ro - sysfs x ro\n")
    assert builders.mounts_below(home.boxes, mounts) == [str(kept)]
    monkeypatch.setattr(builders, "mounts_below", lambda directory: [str(kept)])
    with pytest.raises(LabError, match="something is mounted there"):
        again(home)
    assert kept.is_dir()
    assert archive.built == []


@pytest.mark.parametrize("step", ["resolve", "rootfs"])
def test_a_build_that_fails_leaves_the_boxes_as_they_were(
    home: Home, archive: Archive, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    again(home)
    box = current_box(home.boxes, OS, "lxc")
    before = set(home.boxes.rglob("*"))

    def fail(argv: Sequence[str], *, log: Path, **_: Any) -> None:
        if f"-only=null.{step}" not in argv:
            out = Path(next(word for word in argv if word.startswith("-var=output=")).split("=", 2)[2])
            (out / "resolved.tsv").write_text("haproxy\t4\tamd64\tDebian:13/stable\tabc\n")
            (out / "sources.txt").write_text("Origin: Debian\nDate: Fri, 20 Nov 2026 02:11:10 UTC\n")
            return
        log.write_text("tar: cannot write: No space left on device\n")
        raise CommandFailed("packer build: exit 1")

    monkeypatch.setattr(image, "resolve", build.resolve)
    monkeypatch.setattr(image, "build", build.build)
    monkeypatch.setattr(packer, "run", fail)
    with pytest.raises(LabError, match="the disk is full") as info:
        again(home)
    assert info.value.exit_code == EXIT_COULD_NOT_RUN
    assert str(home.boxes) in info.value.message
    assert {path.name for path in set(home.boxes.rglob("*")) - before} == {f"build-{OS}-lxc.log"}
    assert current_box(home.boxes, OS, "lxc") == box


def test_a_box_is_what_vagrant_lxc_unpacks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "rootfs.tar.zst").write_bytes(b"tree")
    pack(out, tmp_path / "x.box", "lxc")
    with tarfile.open(tmp_path / "x.box") as archive:
        assert archive.getnames() == ["metadata.json", "lxc-template", "rootfs.tar.gz", "rootfs.tar.zst"]
        member = archive.extractfile("metadata.json")
        assert member is not None
        assert json.load(member)["provider"] == "lxc"
        assert archive.getmember("rootfs.tar.gz").linkname == "rootfs.tar.zst"
        assert archive.getmember("lxc-template").mode & 0o111

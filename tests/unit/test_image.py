"""What can be said of building a box without building one: its recipe's digest, requests, when nothing is to do."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rackbox import image
from rackbox.box import Box, box_path, current_box, promote_box, sha256_of
from rackbox.errors import EXIT_COULD_NOT_RUN, CommandFailed, LabBusy, LabError
from rackbox.image import build_image, recipe_digest
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


@pytest.mark.parametrize(
    ("os_name", "provider", "message"),
    [
        ("debian-12", "lxc", r"os: must be one of .*debian-13.*; got debian-12"),
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


def keep_box(home: Home, manifest: str | None) -> Box:
    path = box_path(home.boxes, OS, "lxc", "1")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"tree")
    box = Box(OS, "lxc", "1", path, sha256_of(path))
    if manifest is not None:
        box.manifest.write_text(manifest)
    promote_box(home.boxes, box)
    return box


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whether a build was begun; it makes nothing."""
    begun: list[str] = []

    def build(home: Home, os_name: str, provider: str, *_: Any) -> Box:
        begun.append(provider)
        return Box(os_name, provider, "2", Path("/new.box"), "")

    monkeypatch.setattr(image, "_build", build)
    monkeypatch.setattr(image, "check_tools", lambda provider: [])
    return begun


def test_nothing_is_built_if_the_recipe_is_the_box_s(tmp_path: Path, built: list[str]) -> None:
    home = Home(tmp_path, tmp_path)
    box = keep_box(home, json.dumps({"recipe": recipe_digest()}))
    assert build_image(home, OS, "lxc", NOWHERE, if_changed=True) == box
    assert built == []
    assert build_image(home, OS, "lxc", NOWHERE).version == "2", "asked for without a condition"


@pytest.mark.parametrize("manifest", [json.dumps({"recipe": "another"}), "{}", "{", "[]", None])
def test_a_box_of_another_recipe_or_none_that_can_be_read_is_built_again(
    tmp_path: Path, built: list[str], manifest: str | None
) -> None:
    home = Home(tmp_path, tmp_path)
    keep_box(home, manifest)
    build_image(home, OS, "lxc", NOWHERE, if_changed=True)
    assert built == ["lxc"]


def test_a_box_whose_file_is_gone_is_built_again(tmp_path: Path, built: list[str]) -> None:
    home = Home(tmp_path, tmp_path)
    keep_box(home, json.dumps({"recipe": recipe_digest()})).path.unlink()
    build_image(home, OS, "lxc", NOWHERE, if_changed=True)
    assert built == ["lxc"]


def test_two_builders_do_not_meet_and_a_killed_one_s_rest_goes(tmp_path: Path, built: list[str]) -> None:
    home = Home(tmp_path, tmp_path)
    (home.boxes / ".build-killed" / "out").mkdir(parents=True)
    with image._builder(home.boxes, OS), pytest.raises(LabBusy, match="another build of debian-13"):
        build_image(home, OS, "lxc", NOWHERE)
    build_image(home, OS, "lxc", NOWHERE)
    assert [entry.name for entry in home.boxes.iterdir()] == [".debian-13.lock"]


def test_what_is_mounted_in_a_killed_build_s_rest_is_not_gone_through(
    tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """mmdebstrap's /proc and /sys: removing the directory would reach into the computer's own."""
    home = Home(tmp_path / "my home", tmp_path)
    kept = home.boxes / ".build-killed" / "tree" / "sys"
    kept.mkdir(parents=True)
    mounts = tmp_path / "mountinfo"
    point = str(kept).replace(" ", "\\040")
    mounts.write_text(f"36 35 98:0 / / rw - ext4 x rw\n37 36 0:3 / {point} ro - sysfs x ro\n")
    assert image._mounts_below(home.boxes, mounts) == [str(kept)]
    monkeypatch.setattr(image, "_mounts_below", lambda directory: [str(kept)])
    with pytest.raises(LabError, match="something is mounted there"):
        build_image(home, OS, "lxc", NOWHERE)
    assert kept.is_dir()
    assert built == []


def test_a_build_that_fails_leaves_the_boxes_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path, tmp_path)
    box = keep_box(home, "{}")
    before = sorted(home.boxes.rglob("*"))

    def fail(argv: list[str], *, log: Path, **_: Any) -> None:
        log.write_text("tar: cannot write: No space left on device\n")
        raise CommandFailed("packer build: exit 1")

    monkeypatch.setattr(image, "check_tools", lambda provider: [])
    monkeypatch.setattr(image, "run", fail)
    with pytest.raises(LabError, match="the disk is full") as info:
        build_image(home, OS, "lxc", NOWHERE)
    assert info.value.exit_code == EXIT_COULD_NOT_RUN
    assert str(home.boxes) in info.value.message
    left = set(home.boxes.rglob("*")) - set(before)
    assert {path.name for path in left} == {".debian-13.lock", "build-debian-13-lxc.log"}
    assert current_box(home.boxes, OS, "lxc") == box


def test_a_box_is_what_vagrant_lxc_unpacks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "rootfs.tar.zst").write_bytes(b"tree")
    image._pack(out, tmp_path / "x.box", "lxc")
    with tarfile.open(tmp_path / "x.box") as archive:
        assert archive.getnames() == ["metadata.json", "lxc-template", "rootfs.tar.gz", "rootfs.tar.zst"]
        member = archive.extractfile("metadata.json")
        assert member is not None
        assert json.load(member)["provider"] == "lxc"
        assert archive.getmember("rootfs.tar.gz").linkname == "rootfs.tar.zst"
        assert archive.getmember("lxc-template").mode & 0o111

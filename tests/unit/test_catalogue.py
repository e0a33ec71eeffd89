"""The states of a box's versions, going back to one, and throwing away: what stays whatever happens."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from rackbox import box as box_module
from rackbox.box import Box, box_path, catalogue_path, current_box, list_boxes, metadata_of, promote_box, sha256_of
from rackbox.catalogue import find_version, list_versions, mark_version, roll_back
from rackbox.errors import LabError
from rackbox.paths import Home
from rackbox.prune import _mounted_lowers, choose_staying, find_users, prune
from rackbox.shelf import describe, print_list
from rackbox.state import LabState, save_state

OS = "debian-13"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "my data", tmp_path / "run")


def make(home: Home, day: int, state: str = "good", packages: dict[str, str] | None = None) -> Box:
    version = f"202601{day:02}.1"
    path = box_path(home.boxes, OS, "lxc", version)
    path.parent.mkdir(parents=True)
    path.write_text(f"tree of day {day}")
    box = Box(OS, "lxc", version, path, sha256_of(path))
    rows = [{"name": name, "version": of, "architecture": "all"} for name, of in (packages or {}).items()]
    built = f"2026-01-{day:02}T00:00:00+00:00"
    box.manifest.write_text(json.dumps({"built": built, "sha256": box.sha256, "recipe": "r", "packages": rows}))
    if state == "good":
        promote_box(home.boxes, box)
    elif state == "failed":
        mark_version(path.parent, "failed", "smoke: lb1: failed units: x.service")
    return box


def states(home: Home) -> dict[str, str]:
    return {item.version: item.state for item in list_versions(home, OS, "lxc")}


def test_each_state(home: Home) -> None:
    make(home, 1)
    make(home, 2, "failed")
    make(home, 3)
    make(home, 4, "candidate")
    expected = {"20260101.1": "kept", "20260102.1": "failed", "20260103.1": "current", "20260104.1": "candidate"}
    assert states(home) == expected
    (home.boxes / OS / "lxc" / "not a version").mkdir()
    assert states(home) == expected


def test_what_vagrant_is_offered_ends_with_the_current_one(home: Home) -> None:
    for day in (1, 2, 3):
        make(home, day)
    roll_back(home, OS, "lxc", "20260102.1")
    offered = [entry["version"] for entry in json.loads(catalogue_path(home.boxes, OS).read_text())["versions"]]
    assert offered == ["20260101.1", "20260102.1"], "Vagrant installs the highest that is named"
    assert states(home) == {"20260101.1": "kept", "20260102.1": "current", "20260103.1": "withdrawn"}


def test_back_and_forth(home: Home) -> None:
    boxes = [make(home, day) for day in (1, 2, 3)]
    assert roll_back(home, OS, "lxc").version == boxes[1].version
    assert roll_back(home, OS, "lxc").version == boxes[0].version
    with pytest.raises(LabError, match="no older good version"):
        roll_back(home, OS, "lxc")
    forth = roll_back(home, OS, "lxc", boxes[2].version)
    assert (forth.state, current_box(home.boxes, OS, "lxc")) == ("current", boxes[2])
    assert states(home)[boxes[1].version] == "withdrawn", "what was taken back is not good again by going past it"
    assert roll_back(home, OS, "lxc", "current").version == boxes[2].version


def test_nobody_goes_back_to_what_was_refused_or_is_gone(home: Home) -> None:
    old = make(home, 1)
    refused = make(home, 2, "failed")
    make(home, 3)
    with pytest.raises(LabError, match="is failed: only a good version"):
        roll_back(home, OS, "lxc", refused.version)
    old.path.unlink()
    with pytest.raises(LabError, match="is not there"):
        roll_back(home, OS, "lxc")
    with pytest.raises(LabError, match="version '2027' is not there"):
        roll_back(home, OS, "lxc", "2027")
    assert states(home)["20260103.1"] == "current"


def test_a_version_by_its_beginning(home: Home) -> None:
    make(home, 1)
    make(home, 2)
    assert find_version(home, OS, "lxc", "20260102").version == "20260102.1"
    assert find_version(home, OS, "lxc", "current").version == "20260102.1"
    for name, what in (("2026", "more than one"), ("", "not there")):
        with pytest.raises(LabError, match=what):
            find_version(home, OS, "lxc", name)


def test_where_a_version_is_installed_from(home: Home) -> None:
    good, refused = make(home, 1), make(home, 2, "failed")
    assert metadata_of(home.boxes, good) == catalogue_path(home.boxes, OS)
    assert metadata_of(home.boxes, refused) == refused.path.parent / "metadata.json"


@pytest.mark.parametrize("moment", ["open", "fsync", "replace"])
def test_a_crash_while_the_catalogue_is_written_leaves_the_old_one(
    home: Home, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    make(home, 1)
    before = list_boxes(home.boxes, OS, "lxc")

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    target = {"open": (Path, "open"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[moment]
    with monkeypatch.context() as patch:
        patch.setattr(*target, crash)
        with pytest.raises(KeyboardInterrupt):
            box_module.write_whole(catalogue_path(home.boxes, OS), "{}")
    assert list_boxes(home.boxes, OS, "lxc") == before
    make(home, 2)
    assert len(list_boxes(home.boxes, OS, "lxc")) == 2


# --- the list


def test_what_the_list_says(home: Home) -> None:
    make(home, 1, packages={"haproxy": "1", "jq": "1"})
    make(home, 2, "failed", packages={"haproxy": "9"})
    make(home, 3, packages={"haproxy": "2", "jq": "1"})
    gate = list_versions(home, OS, "lxc")[2].logs
    gate.mkdir()
    (gate / "gate.json").write_text('{"ok": true, "figures": {"haproxy-killed_ms": 120.4, "boot_s": 21.0}}')
    rows = describe(list_versions(home, OS, "lxc"), {"20260101.1": ("small",)}, datetime(2026, 1, 4, tzinfo=UTC))
    assert [row["changes"] for row in rows] == [None, 2, 1], "each against the last good one before it"
    assert [row["labs"] for row in rows] == [["small"], [], []]
    assert rows[1]["reason"].startswith("smoke:")
    assert rows[2]["age_s"] == 86400
    assert [row["figures"].get("haproxy-killed_ms") for row in rows] == [None, None, 120.4]
    printed = StringIO()
    print_list(rows, OS, "lxc", Console(file=printed, width=120))
    head, *lines = printed.getvalue().splitlines()
    assert "haproxy-killed" in head
    assert "boot" not in head
    assert ["120 ms" in line for line in lines[:3]] == [False, False, True]


# --- pruning


def test_what_stays(home: Home) -> None:
    for day in range(1, 6):
        make(home, day)
    make(home, 6, "failed")
    make(home, 7, "failed")

    def staying(keep: int, *used: str) -> list[int]:
        versions = list_versions(home, OS, "lxc")
        return [int(item.version[6:8]) for item in choose_staying(versions, keep, used)]

    assert staying(1) == [5, 7]
    assert staying(3) == [3, 4, 5, 7]
    assert staying(9) == [1, 2, 3, 4, 5, 7]
    assert staying(1, "20260101.1") == [1, 5, 7], "a lab stands on it"
    make(home, 8)
    assert staying(1) == [8], "a newer good one says more than a refused one"
    roll_back(home, OS, "lxc", "20260104.1")
    assert staying(1) == [4, 7, 8], "the last one taken back is known, and why there is nothing newer"


def test_pruning_removes_files_and_what_is_unpacked_and_says_so(home: Home) -> None:
    for day in (1, 2, 3):
        box = make(home, day)
        tree = home.vagrant / "boxes" / f"rackbox-VAGRANTSLASH-{OS}" / box.version / "lxc" / "tree"
        tree.mkdir(parents=True)
        (tree / "file").write_text("x" * 1000)
    (home.boxes / f".build-{OS}-killed").mkdir()
    save_state(home.lab("mine").state, LabState("mine", "f", "lxc", box_version="20260101.1", phase="stopped"))
    would = prune(home, OS, "lxc", 1, dry_run=True)
    assert states(home) == {"20260101.1": "kept", "20260102.1": "kept", "20260103.1": "current"}
    gone = prune(home, OS, "lxc", 1)
    assert gone == would
    assert [item.what for item in gone] == ["version 20260102.1 (kept)", "installed 20260102.1"]
    assert gone[1].size == 1000
    assert states(home) == {"20260101.1": "kept", "20260103.1": "current"}, "a lab that is kept stands on the first"
    installed = sorted(path.name for path in (home.vagrant / "boxes" / f"rackbox-VAGRANTSLASH-{OS}").iterdir())
    assert installed == ["20260101.1", "20260103.1"]
    assert not list(home.boxes.glob(".build-*"))
    with pytest.raises(LabError, match="at least 1"):
        prune(home, OS, "lxc", 0)


def test_who_stands_on_a_box_by_its_machines(home: Home) -> None:
    """A state that is broken, or says nothing, hides no machine."""
    lower = home.vagrant / "boxes" / f"rackbox-VAGRANTSLASH-{OS}" / "20260101.1" / "lxc" / "tree"
    machine = home.lab("broken").machines / "lb1"
    machine.mkdir(parents=True)
    (machine / "config").write_text(f"# x\nlxc.rootfs.path = overlay:{lower}:{machine}/overlay/delta\n")
    home.lab("broken").state.write_text("{")
    save_state(home.lab("gone").state, LabState("gone", "f", "lxc", box_version="20260102.1", phase="absent"))
    assert find_users(home) == {"20260101.1": ("broken",)}


def test_overlays_that_are_mounted_in_any_namespace(tmp_path: Path) -> None:
    for pid, namespace in (("7", "mnt:[1]"), ("8", "mnt:[1]"), ("9", "mnt:[2]")):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "ns" / "mnt").symlink_to(namespace)
        options = f"rw,lowerdir=/lower/{pid}:/low,upperdir=/up"
        (tmp_path / pid / "mountinfo").write_text(f"1 2 0:1 / / rw - overlay none {options}\n")
    (tmp_path / "10").mkdir()
    found = _mounted_lowers(tmp_path)
    assert {"/low", "/lower/9"} <= found
    assert len(found & {"/lower/7", "/lower/8"}) == 1, "a namespace is looked at once"

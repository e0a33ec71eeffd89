"""The catalogue of boxes: what enters it, what is current, and what a damaged file or catalogue says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rackbox.box import Box, box_path, catalogue_path, check_box, current_box, list_boxes, promote_box, sha256_of
from rackbox.errors import LabError

OS = "debian-13"


def make_box(boxes: Path, version: str, provider: str = "lxc", content: bytes = b"a tree") -> Box:
    path = box_path(boxes, OS, provider, version)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return Box(OS, provider, version, path, sha256_of(path))


def test_no_catalogue_has_no_box(tmp_path: Path) -> None:
    assert list_boxes(tmp_path, OS, "lxc") == []
    assert current_box(tmp_path, OS, "lxc") is None


def test_the_newest_is_current_and_what_was_stays(tmp_path: Path) -> None:
    old, new = make_box(tmp_path, "20260101.1"), make_box(tmp_path, "20260102.1")
    promote_box(tmp_path, old)
    promote_box(tmp_path, new)
    assert list_boxes(tmp_path, OS, "lxc") == [old, new]
    assert current_box(tmp_path, OS, "lxc") == new
    assert current_box(tmp_path, OS, "libvirt") is None


def test_promoting_twice_is_as_once(tmp_path: Path) -> None:
    box = make_box(tmp_path, "20260101.1")
    promote_box(tmp_path, box)
    before = catalogue_path(tmp_path, OS).read_text()
    promote_box(tmp_path, box)
    assert catalogue_path(tmp_path, OS).read_text() == before


def test_one_version_may_have_a_box_for_each_provider(tmp_path: Path) -> None:
    boxes = [make_box(tmp_path, "20260101.1", provider) for provider in ("lxc", "libvirt")]
    for box in boxes:
        promote_box(tmp_path, box)
    assert [current_box(tmp_path, OS, box.provider) for box in boxes] == boxes
    assert len(json.loads(catalogue_path(tmp_path, OS).read_text())["versions"]) == 1


def test_a_home_with_spaces_and_other_letters(tmp_path: Path) -> None:
    """The catalogue has URLs, as Vagrant wants it; a path is what we want."""
    boxes = tmp_path / "my labs, 100% über #1"
    box = make_box(boxes, "20260101.1")
    promote_box(boxes, box)
    assert current_box(boxes, OS, "lxc") == box
    check_box(box)


def test_the_catalogue_is_one_that_vagrant_reads(tmp_path: Path) -> None:
    box = make_box(tmp_path, "20260101.1")
    promote_box(tmp_path, box)
    catalogue = json.loads(catalogue_path(tmp_path, OS).read_text())
    assert catalogue["name"] == "rackbox/debian-13"
    assert catalogue["versions"] == [
        {
            "version": "20260101.1",
            "providers": [
                {"name": "lxc", "url": box.path.as_uri(), "checksum_type": "sha256", "checksum": box.sha256},
            ],
        }
    ]
    assert not list(tmp_path.rglob("*.part"))


def test_a_whole_box_passes(tmp_path: Path) -> None:
    check_box(make_box(tmp_path, "1"))


@pytest.mark.parametrize("content", [b"a tre", b"a trEE", b""])
def test_a_truncated_or_changed_file_is_told_with_both_sums(tmp_path: Path, content: bytes) -> None:
    box = make_box(tmp_path, "1")
    box.path.write_bytes(content)
    with pytest.raises(LabError, match="truncated or changed") as info:
        check_box(box)
    assert box.sha256 in info.value.message
    assert sha256_of(box.path) in info.value.message
    assert "`./lab image`" in info.value.hint


def test_a_box_file_that_is_gone(tmp_path: Path) -> None:
    box = make_box(tmp_path, "1")
    box.path.unlink()
    with pytest.raises(LabError, match="is not there"):
        check_box(box)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"versions": 3}',
        '{"versions": [3]}',
        '{"versions": [{"version": "1"}]}',
        '{"versions": [{"version": "1", "providers": [{"name": "lxc"}]}]}',
        '{"versions": [{"version": "1", "providers": [{"name": "lxc", "url": 3, "checksum": ""}]}]}',
    ],
)
def test_a_catalogue_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = catalogue_path(tmp_path, OS)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(LabError, match=r"metadata\.json: not ") as info:
        current_box(tmp_path, OS, "lxc")
    assert "remove it" in info.value.hint

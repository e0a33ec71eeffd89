"""``lab.json``: written whole or not at all, read back as it was, and told when it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rackbox.errors import LabError
from rackbox.state import LabState, load_state, save_state

STATE = LabState(
    "small",
    "/srv/small.yaml",
    "lxc",
    box="rackbox/debian-13",
    box_version="20260101.1",
    phase="failed",
    digests={"gateway": "ab"},
    failed=("lb1",),
    forward_pid=7,
)


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path / "lab.json") is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "labs" / "small" / "lab.json"
    save_state(path, STATE)
    assert load_state(path) == STATE
    assert [entry.name for entry in path.parent.iterdir()] == ["lab.json"]


def test_with_changes_one_thing() -> None:
    assert STATE.with_(phase="up", failed=()).digests == STATE.digests
    assert STATE.with_(phase="up").phase == "up"
    with pytest.raises(TypeError):
        STATE.with_(colour="red")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"colour": "red"},
        {"failed": None},
    ],
)
def test_another_version_s_file_says_what_to_do(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "lab.json"
    save_state(path, STATE)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LabError, match=r"lab\.json: cannot be read") as info:
        load_state(path)
    assert str(path) in info.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"up"', "{}", "\xff"])
def test_a_file_that_is_no_state(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lab.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(LabError, match="cannot be read"):
        load_state(path)

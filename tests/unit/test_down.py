"""Which lab `down` takes away: the one that `up` made from the file, whatever has become of the file since."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rackbox import down
from rackbox.errors import ConfigError, LabError
from rackbox.lab import LiveLab, open_booted_lab, open_lab
from rackbox.providers.lxc import LxcProvider
from rackbox.state import LabState, save_state

TEXT = "name: rack\nnodes: {gateway: {}, worker: {count: 1}}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RACKBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("rackbox.tools.find_user_home", _home(tmp_path))
    monkeypatch.setattr("rackbox.lab.find_user_home", _home(tmp_path))
    made = tmp_path / "lab.yaml"
    made.write_text(TEXT)
    return made


def _home(tmp_path: Path) -> Any:
    from rackbox.paths import Home

    return lambda: Home(Path(os.environ["RACKBOX_HOME"]), tmp_path / "run")


def boot(file: Path) -> LiveLab:
    """What `up` notes."""
    lab = open_lab(file)
    lab.keep_origin()
    save_state(lab.paths.state, LabState(lab.topology.lab, str(file.resolve()), "lxc", phase="up"))
    return lab


def find(file: Path) -> tuple[LiveLab, str]:
    out = io.StringIO()
    lab = down._find_lab(file, Console(file=out, width=200))
    return lab, out.getvalue()


def test_a_lab_that_was_never_booted(file: Path) -> None:
    assert open_booted_lab(file) is None
    lab, said = find(file)
    assert (lab.topology.lab, said) == ("rack", "")


def test_a_lab_whose_file_is_as_it_was(file: Path) -> None:
    boot(file)
    lab, said = find(file)
    assert (lab.topology.lab, said) == ("rack", "")


@pytest.mark.parametrize(
    "text", ["nodes: [", "", "name: other\nnodes: {gateway: {}}\n", "name: rack\ncolour: red\n", None]
)
def test_a_file_that_is_broken_gone_or_names_another_lab(file: Path, text: str | None) -> None:
    boot(file)
    file.unlink() if text is None else file.write_text(text)
    lab, said = find(file)
    assert [node.name for node in lab.topology.nodes] == ["gateway", "worker1"]
    assert lab.file == file
    assert "made from this file as it was then" in said


def test_another_lab_s_broken_state_is_no_hindrance(file: Path) -> None:
    lab = boot(file)
    other = lab.home.lab("a-first").state
    other.parent.mkdir(parents=True)
    other.write_text('{"schema": 1, "lab": "a-first", "of a later release": true}')
    assert find(file)[0].topology.lab == "rack"
    lab.paths.state.write_text("{")
    with pytest.raises(LabError, match="cannot be read"):
        find(file)


def test_machines_that_the_file_no_longer_names_are_known(file: Path) -> None:
    boot(file)
    file.write_text(TEXT.replace(", worker: {count: 1}", ""))
    assert [node.name for node in find(file)[0].topology.nodes] == ["gateway", "worker1"]


def test_a_broken_file_of_which_nothing_was_made(file: Path) -> None:
    file.write_text("nodes: [")
    with pytest.raises(ConfigError):
        find(file)


def test_another_file_of_the_same_name_is_told_which_it_was(file: Path, tmp_path: Path) -> None:
    boot(file)
    other = tmp_path / "other.yaml"
    other.write_text(TEXT)
    with pytest.raises(LabError, match="lab rack was made from") as info:
        find(other)
    assert str(file) in info.value.hint


def test_another_file_of_the_same_name_does_not_judge_the_lab(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status`, `ssh`, `shell` and `failover-test` would hold the lab against what it was not made from."""
    boot(file)
    monkeypatch.setattr(LxcProvider, "is_prepared", lambda *_: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    open_lab(file).require_up()
    other = tmp_path / "other.yaml"
    other.write_text(TEXT)
    with pytest.raises(LabError, match=r"lab rack was made from .*; got .*other\.yaml"):
        open_lab(other).require_up()


def test_up_elsewhere_or_not_ours(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = boot(file)
    monkeypatch.setattr(LxcProvider, "is_prepared", lambda *_: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    lab.check_access()
    monkeypatch.setenv("RACKBOX_HOME", str(tmp_path / "another home"))
    with pytest.raises(LabError, match=r"is up with RACKBOX_HOME=.*/home; here it is .*/another home"):
        open_lab(file).check_access()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root"):
        lab.require_up()
    monkeypatch.setattr(LxcProvider, "is_prepared", lambda *_: False)
    open_lab(file).check_access()


def test_a_lab_whose_directory_was_removed_by_hand(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = open_lab(file)
    removed: list[str] = []
    monkeypatch.setattr(LiveLab, "check_access", lambda self: None)
    monkeypatch.setattr(LxcProvider, "existing", lambda *_: frozenset())
    monkeypatch.setattr(LxcProvider, "is_prepared", lambda *_: not removed)
    monkeypatch.setattr(LxcProvider, "remove", lambda *_: removed.append("networks"))
    monkeypatch.setattr(down, "_power_off", lambda _: None)
    assert not lab.paths.root.exists()
    down.tear_down(lab, Console(file=io.StringIO()))
    assert removed == ["networks"]
    assert not lab.paths.root.exists()

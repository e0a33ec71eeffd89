"""The life of a box: Vagrant installs from the catalogue, a look costs seconds, the gate refuses what is broken.

The current box is the one that the labs before this were made of. What boots a whole gate's lab takes minutes, and runs
only when asked for: ./lab test --e2e -- -m life tests/e2e/test_e2e_9_boxes.py
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rackbox import image
from rackbox.box import Box, catalogue_path, check_box, current_box
from rackbox.build import apt_root
from rackbox.catalogue import list_versions, roll_back
from rackbox.gate import LAB, OTHER_LAB, SCENARIOS, gate_lab
from rackbox.image import build_image, rebuild
from rackbox.paths import PROJECT, Home
from rackbox.prune import prune
from rackbox.run import describe, run
from rackbox.tools import find_user_home
from tests.e2e.boxes import HARMS, Harm, derive_box, make_archive
from tests.e2e.conftest import BUDGETS
from tests.e2e.labs import environment, program_argv

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900, func_only=True)]
SLOW = ("balancer", "volume")
"""Harms that are seen only late in the gate."""

OS = "debian-13"
LOOK_SECONDS = 15.0
"""Loose: what a shared computer with two cores keeps on a bad day. The figure is in the README."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The user's boxes, and what a test adds to them."""

    home: Home
    box: Box

    def states(self) -> dict[str, str]:
        return {item.version: item.state for item in list_versions(self.home, OS, "lxc")}


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """The current box, built if there is none; whatever a test has added to it is taken away again."""
    if os.geteuid() != 0:
        pytest.skip("booting machines needs root")
    home = find_user_home()
    box = build_image(home, OS, "lxc", Console(file=io.StringIO()))
    there = {item.version for item in list_versions(home, OS, "lxc")}
    catalogue = catalogue_path(home.boxes, OS).read_bytes()
    try:
        yield Shelf(home, box)
    finally:
        catalogue_path(home.boxes, OS).write_bytes(catalogue)
        for item in list_versions(home, OS, "lxc"):
            if item.version not in there:
                shutil.rmtree(item.directory)
                installed = home.vagrant / "boxes" / f"rackbox-VAGRANTSLASH-{OS}" / item.version
                shutil.rmtree(installed, ignore_errors=True)


def cli(*words: str, code: int = 0, env: Mapping[str, str] | None = None) -> tuple[str, float]:
    """What a task printed, and the seconds that it took."""
    started = time.monotonic()
    result = run(program_argv(*words), timeout=800, check=False, env={**environment(), **(env or {})}, cwd=PROJECT)
    assert result.returncode == code, describe(result)
    return result.stdout + result.stderr, time.monotonic() - started


def test_a_look_at_what_has_not_changed_takes_seconds(shelf: Shelf) -> None:
    cli("image.build", "--if-changed")  # the first look since the archive's last change fetches and solves
    before = shelf.states()
    text, seconds = cli("image", "--if-changed")
    if "nothing changed" not in text:
        pytest.skip("the archive has changed since the box was built")
    assert seconds <= LOOK_SECONDS
    assert shelf.states() == before
    assert list(before.values()).count("current") == 1


def test_the_list_names_it(shelf: Shelf) -> None:
    document = json.loads(cli("image.list", "--json")[0])
    (row,) = (row for row in document["versions"] if row["version"] == shelf.box.version)
    assert (row["state"], row["sha256"], row["box"]) == ("current", shelf.box.sha256, str(shelf.box.path))
    assert "hold the same" in cli("image.diff", "current", shelf.box.version)[0]


def test_stock_vagrant_installs_it_and_sees_the_next_version_as_an_update(shelf: Shelf, tmp_path: Path) -> None:
    """By the catalogue's URL, in a Vagrant that knows nothing of us but the provider."""
    home = tmp_path / "vagrant"
    env = {"VAGRANT_HOME": str(home), "HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def vagrant(*words: str) -> str:
        result = run(["vagrant", *words], timeout=200, check=False, env=env, cwd=tmp_path)
        assert result.ok, describe(result)
        return result.stdout

    url = catalogue_path(shelf.home.boxes, OS).as_uri()
    vagrant("box", "add", "--provider", "lxc", url)
    assert f"rackbox/{OS} (lxc, {shelf.box.version}" in vagrant("box", "list")
    assert "up to date" in vagrant("box", "outdated", "--global")
    catalogue = json.loads(catalogue_path(shelf.home.boxes, OS).read_text())
    entry = next(entry for entry in catalogue["versions"] if entry["version"] == shelf.box.version)
    catalogue["versions"].append({**entry, "version": "20990101.1"})
    catalogue_path(shelf.home.boxes, OS).write_text(json.dumps(catalogue))
    said = vagrant("box", "outdated", "--global")
    assert "is outdated! Current: " in said
    assert "Latest: 20990101.1" in said


@pytest.mark.parametrize(
    "harm", [pytest.param(harm, marks=[pytest.mark.life] if harm in SLOW else []) for harm in HARMS]
)
def test_the_gate_refuses_a_broken_box(
    shelf: Shelf, harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_over, words = HARMS[harm]

    def build(home: Home, *_: Any) -> Box:
        return derive_box(shelf.box, home, "20990101.1", laid_over, tmp_path)

    monkeypatch.setattr(image, "build", build)
    said = io.StringIO()
    result = rebuild(shelf.home, OS, "lxc", Console(file=said, width=200), if_changed=False, gate=True)
    print(said.getvalue())
    assert not result.promoted
    assert words in " ".join(result.problems)
    assert shelf.states()["20990101.1"] == "failed"
    assert current_box(shelf.home.boxes, OS, "lxc") == shelf.box
    logs = shelf.home.boxes / OS / "lxc" / "20990101.1" / "gate"
    assert json.loads((logs / "gate.json").read_text())["problems"] == list(result.problems)
    assert not shelf.home.lab(gate_lab(shelf.home, OS, "lxc")).root.exists()


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate whose budgets a shared computer keeps on a bad day."""
    lab = yaml.safe_load(LAB.read_text()) | {"failover": {"budgets": {name: BUDGETS[name] for name in SCENARIOS}}}
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(lab))
    monkeypatch.setenv(OTHER_LAB, str(tmp_path / "gate.yaml"))


@pytest.mark.life
@pytest.mark.usefixtures("patient")
def test_the_gate_lets_a_box_through_that_is_well(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(home: Home, *_: Any) -> Box:
        return derive_box(shelf.box, home, "20990101.1", Harm({"etc/harmless": "x\n"}), tmp_path)

    monkeypatch.setattr(image, "build", build)
    result = rebuild(shelf.home, OS, "lxc", Console(width=200), if_changed=False, gate=True)
    assert result.promoted, result.problems
    assert shelf.states()["20990101.1"] == "current"
    assert shelf.states()[shelf.box.version] == "kept"
    assert {"haproxy-killed_ms", "holder-powered-off_ms", "gate_s"} <= result.figures.keys()


@pytest.mark.life
@pytest.mark.usefixtures("patient")
def test_a_package_that_is_bumped_is_detected_built_proven_and_promoted(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("image", "--if-changed")
    (deb,) = (apt_root(shelf.home, OS) / "debs").glob("netbase_*.deb")
    monkeypatch.setenv("RACKBOX_APT_SOURCES", str(make_archive(tmp_path, deb, "99:1")))
    before = current_box(shelf.home.boxes, OS, "lxc")
    text, _ = cli("image", "--if-changed")
    after = current_box(shelf.home.boxes, OS, "lxc")
    assert before is not None
    assert after is not None
    assert after.version != before.version
    assert "→ 99:1  [security]" in text
    check_box(after)
    assert "nothing changed" in cli("image", "--if-changed")[0]
    assert "netbase" in cli("image.diff", before.version, "current")[0]
    roll_back(shelf.home, OS, "lxc")
    assert "taken back: not built" in cli("image", "--if-changed")[0]
    assert [item.what for item in prune(shelf.home, OS, "lxc", 1, dry_run=True)]

"""Images that are unpacked once: where they are kept, and how a machine is given them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rackbox.image_store import PARTS, _remove_old, lay_out, store_path
from rackbox.paths import Home
from rackbox.release import Image, Release

IMAGE = Image("registry.example/pause:3.10", "images/pause.tar", "sha256:11", frozenset({"worker"}))
RELEASE = Release(
    name="1.36.3-amd64-abc",
    directory=Path("/b"),
    kubernetes="1.36.3",
    arch="amd64",
    source="go",
    components={"containerd": "2.2.0"},
    programs=frozenset(),
    plugins=frozenset(),
    images=(),
    manifests=frozenset(),
)


def test_other_images_or_another_containerd_are_another_store(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    first = store_path(home, RELEASE, (IMAGE,))
    assert first.name.startswith("1.36.3-amd64-abc-")
    assert first == store_path(home, RELEASE, (IMAGE,))
    assert first != store_path(home, RELEASE, (replace(IMAGE, digest="sha256:12"),))
    assert first != store_path(home, replace(RELEASE, components={"containerd": "2.2.1"}), (IMAGE,))


@pytest.mark.subprocess
def test_layers_are_shared_and_databases_are_not(tmp_path: Path) -> None:
    store, own = tmp_path / "store", tmp_path / "machine"
    (store / "snapshots").mkdir(parents=True)
    (store / "snapshots/program").write_text("bytes")
    (store / "snapshots/metadata.db").write_text("of all")
    own.mkdir()
    lay_out(store, own)
    assert (own / "snapshots/program").samefile(store / "snapshots/program")
    assert not (own / "snapshots/metadata.db").samefile(store / "snapshots/metadata.db")
    assert (own / "snapshots/metadata.db").read_text() == "of all"
    assert not own.with_name("machine.part").exists()


@pytest.mark.subprocess
def test_a_machine_that_has_something_keeps_it(tmp_path: Path) -> None:
    store, own = tmp_path / "store", tmp_path / "machine"
    store.mkdir()
    own.mkdir()
    (own / "mine").write_text("data")
    with pytest.raises(OSError, match="not empty"):
        lay_out(store, own)
    assert (own / "mine").read_text() == "data"


def test_stores_go_with_their_bundles(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    (home.bundles / "1.36.3-amd64-abc").mkdir(parents=True)
    images = tmp_path / "images"
    for name in ("1.36.3-amd64-abc-111111111111", "1.35.4-amd64-def-222222222222"):
        (images / name / PARTS[0]).mkdir(parents=True)
    (images / "notes").mkdir()
    _remove_old(home, images)
    assert sorted(path.name for path in images.iterdir()) == ["1.36.3-amd64-abc-111111111111", "notes"]

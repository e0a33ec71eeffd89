"""What a bundle takes from Debian: Docker Engine's programs, fetched once, named with the version that was had."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rackbox import bundle_debian
from rackbox.bundle import read_bundle, runtimes_of
from rackbox.bundle_build import components_of
from rackbox.bundle_cache import Cache
from rackbox.bundle_components import explain
from rackbox.bundle_debian import docker_files, packages_in, take_docker
from rackbox.bundle_parts import Bench, Parts, assemble
from rackbox.bundle_pins import load_pins
from rackbox.bundle_recipe import COMPONENTS, CRI_DOCKERD, DOCKER, DOCKER_PROGRAMS, NODES
from rackbox.errors import CommandFailed, LabError
from rackbox.paths import Home
from rackbox.run import Result
from tests.bundling import ENGINE, make_document, write_tree


@pytest.fixture
def debian(tmp_path: Path) -> Bench:
    (tmp_path / "work").mkdir()
    return Bench(Cache(tmp_path / "cache"), "amd64", tmp_path / "work", tmp_path / "log", Console(quiet=True))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What mmdebstrap was asked for; it leaves everything but what the test takes away."""
    calls: list[str] = []

    def run(argv: Any, **_: Any) -> Result:
        calls.append(next(word for word in argv if word.startswith("--include=")))
        write_tree(Path(argv[-1]), {program.source: f"{program.name} itself" for program in DOCKER_PROGRAMS})
        return Result(tuple(argv), 0, "", "", 0.1)

    monkeypatch.setattr(bundle_debian, "run", run)
    return calls


def test_the_engine_is_fetched_once(debian: Bench, asked: list[str]) -> None:
    keys: dict[str, str] = {}
    made = take_docker(debian, keys)
    assert asked == ["--include=docker.io,docker-cli,tini"]
    assert {name: made.path(name).read_text() for name in ("dockerd", "docker", "docker-init")} == {
        name: f"{name} itself" for name in ("dockerd", "docker", "docker-init")
    }
    assert [package["name"] for package in made.notes["packages"]] == ["docker-cli", "docker.io", "tini"]
    assert take_docker(debian, {}).files == made.files
    assert len(asked) == 1
    assert [*keys] == ["docker-amd64"]


def test_bundle_and_bill_of_materials_name_it(debian: Bench, asked: list[str], tmp_path: Path) -> None:
    """A component in the version that was had: Debian's, which nobody pins."""
    home, out, parts = Home(tmp_path / "data", tmp_path / "run"), tmp_path / "data/bundles/.build-x", Parts()
    document = make_document(out)
    for name in ("files", "images", "manifests"):
        setattr(parts, name, document[name])
    docker_files(parts, take_docker(debian, {}), out)
    bundle = read_bundle(assemble(home, out, load_pins("1.36"), "amd64", "go", parts, {}).root)
    assert bundle.components[DOCKER] == ENGINE
    engine = next(file for file in bundle.files if file.path == "bin/dockerd")
    assert (engine.install, engine.on, engine.mode, engine.component) == (
        "/usr/local/bin/dockerd",
        NODES,
        0o755,
        DOCKER,
    )
    assert runtimes_of(bundle.components) == ("containerd",), "without cri-dockerd no kubelet can speak to it"
    parts_of = json.loads((bundle.root / "sbom.cdx.json").read_text())["components"]
    (package,) = [part for part in parts_of if part["name"] == "docker.io"]
    assert package["purl"].startswith("pkg:deb/debian/docker.io@26.1.5%2Bdfsg1-9%2Bdeb13u1?arch=amd64")
    assert not [part for part in parts_of if part["name"] == "libc6"], "it is the boxes'"


def test_a_mirror_that_does_not_answer_is_told(debian: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Result:
        raise CommandFailed("mmdebstrap …: exit code 25\nE: Unable to locate package docker.io")

    monkeypatch.setattr(bundle_debian, "run", fail)
    with pytest.raises(LabError) as caught:
        take_docker(debian, {})
    assert caught.value.message.startswith(
        "Docker Engine (docker.io, docker-cli, tini of Debian trixie) cannot be had:"
    )
    assert "Unable to locate package" in caught.value.message
    assert "mirror" in caught.value.hint


def test_a_package_without_its_program_is_refused(debian: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: Any, **_: Any) -> Result:
        write_tree(Path(argv[-1]), {"usr/sbin/dockerd": "x", "usr/bin/tini": "x"})
        return Result(tuple(argv), 0, "", "", 0.1)

    monkeypatch.setattr(bundle_debian, "run", run)
    with pytest.raises(LabError, match="Debian trixie: must have usr/bin/docker in its packages; got none"):
        take_docker(debian, {})
    assert not [*debian.cache.directory.glob("*")]


def test_a_tree_without_packages_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tree.tar", "w"):
        pass
    with pytest.raises(LabError, match="no packages in it"):
        packages_in(tmp_path / "tree.tar")


def test_only_who_asks_gets_it() -> None:
    assert CRI_DOCKERD not in components_of(docker=False)
    assert components_of(docker=True) == (CRI_DOCKERD, *COMPONENTS), "first: that it cannot be had is seen at once"


@pytest.mark.parametrize("words", ["reading …/@v/v0.4.3.info: 404 Not Found", "410 Gone", "version is not available"])
def test_a_module_that_no_proxy_has_is_told(words: str, tmp_path: Path) -> None:
    error = explain(CommandFailed(f"go mod download: {words}"), CRI_DOCKERD, tmp_path / "log", tmp_path)
    assert error.message.startswith("a module of cri-dockerd cannot be had from the Go module proxy")
    assert "GOPROXY" in error.hint

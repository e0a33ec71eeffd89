"""Published releases and registries: what their answers mean, and which sources may be named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rackbox.bundle_pins import load_pins
from rackbox.bundle_recipe import IMAGES, MANIFESTS, reference_of
from rackbox.bundle_upstream import (
    BUILT,
    MANIFEST_URLS,
    OTHER_SOURCES,
    PUBLISHED,
    RELEASED,
    asset_checksum,
    load_sources,
)
from rackbox.errors import LabError
from rackbox.registry import Reference, _choose, find_checksum, parse_reference

SUM, OTHER = "ab" * 32, "cd" * 32


@pytest.mark.parametrize(
    "text",
    [
        SUM,
        f"{SUM}\n",
        f"{SUM.upper()}\n",
        f"{SUM}  etcd.tar.gz\n",
        f"{SUM} *etcd.tar.gz",
        f"{OTHER}  other.tar.gz\n{SUM}  ./etcd.tar.gz\n",
    ],
)
def test_a_published_checksum_is_found(text: str) -> None:
    assert find_checksum(text, "etcd.tar.gz", "http://h/x") == SUM


@pytest.mark.parametrize("text", ["", "not found", f"{OTHER}  other.tar.gz", f"{SUM}\n{OTHER}\n", "ab  etcd.tar.gz"])
def test_a_text_without_the_checksum_is_refused(text: str) -> None:
    with pytest.raises(LabError, match=r"http://h/x: must hold the SHA-256 of etcd\.tar\.gz; got"):
        find_checksum(text, "etcd.tar.gz", "http://h/x")


def test_githubs_word_for_a_file() -> None:
    text = json.dumps(
        {"assets": [{"name": "a", "digest": f"sha256:{OTHER}"}, {"name": "b", "digest": f"sha256:{SUM}"}]}
    )
    assert asset_checksum(text, "b", "http://h") == SUM
    for bad in ("{}", "[", json.dumps({"assets": [{"name": "b"}]}), json.dumps({"assets": []})):
        with pytest.raises(LabError, match="must hold the digest of b"):
            asset_checksum(bad, "b", "http://h")
    with pytest.raises(LabError, match="b: digest: must be sha256: and 64 hex digits; got md5:1"):
        asset_checksum(json.dumps({"assets": [{"name": "b", "digest": "md5:1"}]}), "b", "http://h")


def test_references() -> None:
    assert parse_reference("registry.k8s.io/coredns/coredns:v1.14.2") == Reference(
        "registry.k8s.io", "coredns/coredns", "v1.14.2"
    )
    for bad in ("pause", "pause:1", "host/pause", "host/:1"):
        with pytest.raises(LabError, match="image: must be HOST/NAME:TAG; got"):
            parse_reference(bad)


def test_the_image_for_this_architecture_is_chosen() -> None:
    manifests = [
        {"digest": "w", "platform": {"os": "windows", "architecture": "amd64"}},
        {"digest": "a", "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": "x"},
        {"digest": "b", "platform": {"os": "linux", "architecture": "amd64"}},
    ]
    assert _choose(manifests, "amd64", "h/n:t") == "b"
    with pytest.raises(LabError, match="h/n:t: the registry has it not for linux/riscv64"):
        _choose(manifests, "riscv64", "h/n:t")
    with pytest.raises(LabError):
        _choose(None, "amd64", "h/n:t")


def test_the_default_sources_are_complete_and_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OTHER_SOURCES)
    sources = load_sources()
    for image in PUBLISHED:
        assert parse_reference(reference_of(image, load_pins().components)).host in sources.registries
    urls = [release.url for release in RELEASED] + [MANIFEST_URLS[manifest.name] for manifest in MANIFESTS]
    assert {url.partition("/")[0] for url in urls} <= set(sources.releases)
    urls = [*sources.releases.values(), *sources.registries.values(), sources.packages]
    assert all(url.startswith("https://") for url in urls)


@pytest.mark.parametrize(
    ("group", "name", "value", "says"),
    [
        ("registries", "quay.io", "http://mirror.example", "registries.quay.io: must be a URL with https://"),
        ("registries", "quay.io", None, "registries.quay.io: must be a URL with https://"),
        ("releases", "github", "file:///etc", "releases.github: must be a URL with https://"),
    ],
)
def test_sources_that_cannot_be_used(group: str, name: str, value: object, says: str, tmp_path: Path) -> None:
    default = load_sources()
    document = {"releases": dict(default.releases), "registries": dict(default.registries)}
    document[group][name] = value  # type: ignore[assignment]
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(LabError) as caught:
        load_sources(path)
    assert f"{path}: {says}" in caught.value.message


def test_a_registry_that_one_can_do_without_need_not_be_named() -> None:
    """Files of sources from before there was an ingress controller in a bundle."""
    assert "docker.io" not in load_sources().registries
    hosts = {parse_reference(image.reference.format(version="0")).host: image for image in PUBLISHED}
    assert {image.name for host, image in hosts.items() if host not in load_sources().registries} == {"traefik"}
    assert hosts["docker.io"].optional


def test_sources_without_a_group(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("releases: none\n")
    with pytest.raises(LabError, match=r"s\.yaml: releases: must be a mapping of names to URLs; got 'none'"):
        load_sources(tmp_path / "s.yaml")


def test_every_component_of_the_pins_comes_from_somewhere() -> None:
    pins = load_pins()
    brought = {release.component for release in RELEASED} | {image.component for image in IMAGES}
    assert [image.name for image in BUILT] == ["gluster-csi"], "nobody publishes the driver"
    names = {image.name for image in IMAGES}
    assert {image.beside for image in IMAGES if image.beside} <= names - {image.name for image in PUBLISHED}
    assert brought == set(pins.components) | set(pins.only_upstream)

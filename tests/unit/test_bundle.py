"""Kubernetes bundles: read, found, and refused with words that say what is wrong, before anything boots."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rackbox.bundle import (
    Bundle,
    find_bundle,
    images_for,
    list_bundles,
    name_bundle,
    parse_bundle,
    read_bundle,
    runtimes_of,
)
from rackbox.bundle_archive import load_bundle, save_bundle
from rackbox.bundle_check import (
    check_bundle,
    check_complete,
    check_files,
    check_floor,
    check_images,
    check_skew,
    check_upgrade,
)
from rackbox.errors import LabError
from rackbox.paths import Home
from tests.bundling import make_bundle, make_document


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "1.36.3-amd64-00000000")


def test_a_whole_bundle_is_read_and_passes(bundle: Bundle) -> None:
    assert (bundle.kubernetes, bundle.minor, bundle.arch, bundle.source) == ("1.36.3", "1.36", "amd64", "go")
    assert next(file for file in bundle.files if file.path == "bin/kubelet").install == "/usr/local/bin/kubelet"
    check_bundle(bundle, arch="amd64", stacked_etcd=True)


def test_a_worker_needs_no_api_server(bundle: Bundle) -> None:
    names = {image.path for image in images_for(bundle, "worker")}
    assert "images/kube-proxy.tar" in names
    assert "images/kube-apiserver.tar" not in names
    assert "images/kube-apiserver.tar" in {image.path for image in images_for(bundle, "control-plane")}


def _set(*path: Any) -> Callable[[Any], None]:
    *way, last, value = path

    def change(document: Any) -> None:
        for key in way:
            document = document[key]
        document[last] = value

    return change


BAD = [
    (_set("kind", "box"), "kind: must be 'rackbox-kubernetes-bundle'; got 'box'"),
    (_set("schema", 2), "schema: must be 1; got 2"),
    (_set("kubernetes", "v1.36"), "kubernetes: must be a release such as 1.36.3; got 'v1.36'"),
    (_set("version", "../x"), "version: must be a name such as 1.36.3-amd64-0123abcd; got '../x'"),
    (_set("built", "yesterday"), "built: must be a date and time"),
    (_set("files", {}), "files: must be a list; got {}"),
    (_set("files", 0, "x"), "files[0]: must be an object; got 'x'"),
    (_set("files", 0, "path", "../../etc/passwd"), "files[0].path: must be a path below the bundle"),
    (_set("files", 0, "path", "/etc/passwd"), "files[0].path: must be a path below the bundle"),
    (_set("files", 0, "install", "bin/x"), "files[0].install: must be an absolute path; got 'bin/x'"),
    (_set("files", 0, "install", "/opt/../etc/x"), "files[0].install: must be an absolute path"),
    (_set("files", 0, "mode", "rwx"), "files[0].mode: must be octal such as 0755; got 'rwx'"),
    (_set("files", 0, "sha256", "ab"), "files[0].sha256: must be 64 hex digits; got 'ab'"),
    (_set("files", 0, "size", -1), "files[0].size: must be a number of bytes; got -1"),
    (_set("files", 0, "size", True), "files[0].size: must be a number of bytes; got True"),
    (_set("files", 0, "on", ["balancer"]), "files[0].on: must be a list of control-plane, worker, etcd"),
    (_set("files", 1, "install", "/opt/cni/bin/flannel"), "install: must be unique; got /opt/cni/bin/flannel twice"),
    (_set("images", 0, "reference", "pause"), "images[0].reference: must be HOST/NAME:TAG; got 'pause'"),
    (_set("images", 0, "digest", "md5:1"), "images[0].digest: must be sha256: and 64 hex digits"),
    (_set("manifests", 0, "images", "x"), "manifests[0].images: must be a list of references; got 'x'"),
    (_set("components", "etcd", 3), "components.etcd: must be text; got 3"),
]


@pytest.mark.parametrize(("change", "says"), BAD, ids=[says[:40] for _, says in BAD])
def test_a_manifest_that_cannot_be_used_says_where_and_why(
    change: Callable[[Any], None], says: str, tmp_path: Path
) -> None:
    document = make_document(tmp_path)
    change(document)
    with pytest.raises(LabError) as caught:
        parse_bundle(document, tmp_path)
    assert f"{tmp_path / 'manifest.json'}: {says}" in caught.value.message
    assert "./lab bundle" in caught.value.hint


@pytest.mark.parametrize("content", ["", "[", "[]", "null"])
def test_a_manifest_that_is_no_json_object(content: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(LabError, match=r"manifest\.json: "):
        read_bundle(tmp_path)


def test_a_directory_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is no Kubernetes bundle"):
        read_bundle(tmp_path)


def test_the_newest_of_a_minor_is_found(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "run")
    assert find_bundle(home) is None
    make_bundle(home.bundles / "a", {"kubernetes": "1.35.10"})
    make_bundle(home.bundles / "b", {"kubernetes": "1.35.9"})
    make_bundle(home.bundles / "c", built="2026-11-21T04:00:00+00:00")
    make_bundle(home.bundles / "d")
    make_bundle(home.bundles / "e").root.rename(home.bundles / ".build-x")
    (home.bundles / "broken").mkdir()
    (home.bundles / "broken/manifest.json").write_text("{}")
    assert [bundle.version for bundle in list_bundles(home)] == ["b", "a", "c", "d"]
    found = [find_bundle(home, minor, "amd64") for minor in ("", "1.36", "1.35", "1.34")]
    assert [bundle and bundle.version for bundle in found] == ["d", "d", "a", None]
    assert find_bundle(home, "", "arm64") is None
    assert name_bundle(home, "d").version == "d"
    assert name_bundle(home, str(home.bundles / "c")).version == "c"
    with pytest.raises(LabError, match="bundle 'z': is not there"):
        name_bundle(home, "z")


def test_a_changed_file_is_named_with_both_checksums(bundle: Bundle) -> None:
    path = bundle.root / "bin/kubelet"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(LabError, match=r"bin/kubelet: changed: SHA-256 must be [0-9a-f]{64}; got [0-9a-f]{64}"):
        check_files(bundle)


def test_a_truncated_file(bundle: Bundle) -> None:
    (bundle.root / "images/pause.tar").write_bytes(b"")
    with pytest.raises(LabError, match=r"images/pause\.tar: truncated or changed: must be \d+ bytes; got 0"):
        check_files(bundle)


def test_a_file_that_is_gone(bundle: Bundle) -> None:
    (bundle.root / "cni/bridge").unlink()
    with pytest.raises(LabError, match=r"cni/bridge: no such file, though"):
        check_bundle(bundle, arch="amd64")


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("coredns", "image registry.k8s.io/coredns/coredns:v1.14.2"),
        ("flannel", "image ghcr.io/flannel-io/flannel:v0.28.4"),
        ("kube-proxy", "image registry.k8s.io/kube-proxy:v1.36.3"),
    ],
)
def test_a_missing_image_is_named(image: str, says: str, bundle: Bundle) -> None:
    images = tuple(item for item in bundle.images if item.path != f"images/{image}.tar")
    with pytest.raises(LabError) as caught:
        check_complete(dataclasses.replace(bundle, images=images))
    assert f"missing: {says}" in caught.value.message


def test_an_image_of_another_version_is_not_the_one(tmp_path: Path) -> None:
    """The manifest says CoreDNS 1.14.2 and brings another: kubeadm would ask for the first, and nobody has it."""
    document = make_document(tmp_path)
    for image in document["images"]:
        image["reference"] = image["reference"].replace("coredns:v1.14.2", "coredns:v1.9.0")
    with pytest.raises(LabError, match=r"missing: image registry\.k8s\.io/coredns/coredns:v1\.14\.2"):
        check_complete(parse_bundle(document, tmp_path))


def test_etcd_is_asked_for_only_when_it_is_stacked(bundle: Bundle) -> None:
    images = tuple(image for image in bundle.images if image.component != "etcd")
    without = dataclasses.replace(bundle, images=images)
    check_complete(without)
    with pytest.raises(LabError, match=r"missing: image registry\.k8s\.io/etcd:3\.6\.8-0"):
        check_complete(without, stacked_etcd=True)


def test_a_bundle_may_lack_the_driver_for_volumes_but_not_a_part_of_it(bundle: Bundle) -> None:
    """One of an earlier release, or fetched where there was no Go."""
    storage = ("gluster-csi", "csi-provisioner", "csi-resizer")
    images = tuple(image for image in bundle.images if image.component not in storage)
    components = {name: version for name, version in bundle.components.items() if name not in storage}
    check_complete(dataclasses.replace(bundle, images=images, components=components))
    with pytest.raises(LabError, match=r"missing: image rackbox\.internal/gluster-csi:v1\.0\.0"):
        check_complete(dataclasses.replace(bundle, images=images))


def test_a_missing_program(bundle: Bundle) -> None:
    files = tuple(file for file in bundle.files if file.path != "bin/kubeadm")
    with pytest.raises(LabError, match="missing: program kubeadm"):
        check_complete(dataclasses.replace(bundle, files=files))


def test_another_architecture(bundle: Bundle) -> None:
    with pytest.raises(LabError, match="arch: must be arm64, as this computer is; got amd64"):
        check_bundle(bundle, arch="arm64")


def test_an_archive_with_another_image(tmp_path: Path) -> None:
    """Checksums are right, for somebody has written them anew; the archive tells."""
    document = make_document(tmp_path)
    pause, other = document["images"][0], document["images"][1]
    for key in ("sha256", "size"):
        pause[key] = other[key]
    (tmp_path / pause["path"]).write_bytes((tmp_path / other["path"]).read_bytes())
    bundle = parse_bundle(document, tmp_path)
    check_files(bundle)
    with pytest.raises(LabError, match=r"pause\.tar: reference: must be registry\.k8s\.io/pause:3\.10\.2; got "):
        check_images(bundle)


def test_which_runtimes_a_bundle_is_enough_for(bundle: Bundle) -> None:
    half = {**bundle.components, "cri-dockerd": "0.4.3"}
    assert runtimes_of(bundle.components) == runtimes_of(half) == ("containerd",)
    assert runtimes_of({**half, "docker": "26.1.5+dfsg1-9"}) == ("containerd", "docker")


@pytest.mark.parametrize(
    ("kubeadm", "plane", "kubelet", "says"),
    [
        ("1.36.3", "1.36.3", "1.36.3", ""),
        ("1.36.3", "1.35.4", "1.35.4", ""),
        ("1.36.3", "1.36.0", "1.33.9", ""),
        ("1.36.3", "1.34.9", "1.34.9", "the control plane must be 1.36 or 1.35; got 1.34.9"),
        ("1.35.4", "1.36.3", "1.35.4", "the control plane must be 1.35 or 1.34; got 1.36.3"),
        ("1.36.3", "1.35.4", "1.36.3", "kubelet 1.36.3: must not be newer than the control plane; got 1.35.4"),
        ("1.36.3", "1.36.3", "1.32.0", "kubelet 1.32.0: must be at most 3 minors older"),
        ("1.36", "1.36.3", "1.36.3", "release: must be as 1.36.3; got 1.36"),
    ],
)
def test_version_skew(kubeadm: str, plane: str, kubelet: str, says: str) -> None:
    if not says:
        check_skew(kubeadm, plane, kubelet)
        return
    with pytest.raises(LabError) as caught:
        check_skew(kubeadm, plane, kubelet)
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("running", "says"),
    [
        ("1.36.3", ""),
        ("1.36.1", ""),
        ("1.35.4", ""),
        ("1.34.2", "must be 1.34 or 1.35, one minor at a time; got 1.36.3"),
        ("1.36.4", "must not be older than what runs, 1.36.4; got 1.36.3"),
        ("1.37.0", "must not be older than what runs, 1.37.0; got 1.36.3"),
    ],
)
def test_upgrades(running: str, says: str, bundle: Bundle) -> None:
    if not says:
        check_upgrade(running, bundle)
        return
    with pytest.raises(LabError) as caught:
        check_upgrade(running, bundle)
    assert says in caught.value.message


def test_floors() -> None:
    check_floor("etcd", "3.5.24", "3.5.24", "Kubernetes 1.36")
    check_floor("runc", "1.1.15+ds1", "1.1.0", "Kubernetes 1.36")
    with pytest.raises(LabError, match=r"etcd: must be 3\.5\.24 or newer, for Kubernetes 1\.36; got 3\.5\.16"):
        check_floor("etcd", "3.5.16", "3.5.24", "Kubernetes 1.36")


def test_what_is_read_back_is_what_was_written(bundle: Bundle) -> None:
    again = json.loads((bundle.root / "manifest.json").read_text())
    assert parse_bundle(again, bundle.root) == bundle


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "other", tmp_path / "run")


def kept(home: Home) -> list[str]:
    return sorted(path.name for path in home.bundles.iterdir() if path.name != ".lock")


def test_a_bundle_is_carried_as_one_file(bundle: Bundle, home: Home, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "a.tar")
    save_bundle(bundle, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    loaded = load_bundle(home, tmp_path / "a.tar")
    assert dataclasses.replace(loaded, root=bundle.root) == bundle
    assert kept(home) == [bundle.version]
    assert (loaded.root / "bin/kubeadm").stat().st_mode & 0o777 == (bundle.root / "bin/kubeadm").stat().st_mode & 0o777


def test_a_damaged_bundle_is_not_saved(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.root / "bin/kubeadm").write_text("x")
    with pytest.raises(LabError, match="bin/kubeadm: truncated or changed"):
        save_bundle(bundle, tmp_path / "a.tar")
    assert not list(tmp_path.glob("a.tar*"))


def _append(path: Path, name: str, content: bytes) -> None:
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("1.36.3-amd64-00000000/bin/kubelet", r"bin/kubelet: truncated or changed: must be \d+ bytes; got 4"),
        ("1.36.3-amd64-00000000/bin/more", r"bin/more: must be named by the bundle's manifest"),
        ("../../evil", r"not an archive of a bundle: .*evil"),
        ("another/manifest.json", r"must hold one bundle; got 2"),
    ],
)
def test_an_archive_that_was_tampered_with(name: str, says: str, bundle: Bundle, home: Home, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "a.tar")
    _append(tmp_path / "a.tar", name, b"evil")
    with pytest.raises(LabError, match=says):
        load_bundle(home, tmp_path / "a.tar")
    assert kept(home) == []


def test_no_archive(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("text")
    for name, says in (
        ("a.tar", "not an archive of a bundle"),
        ("nowhere.tar", "no such file"),
        ("", "Is a directory"),
    ):
        with pytest.raises(LabError) as error:
            load_bundle(home, tmp_path / name)
        assert error.value.message == f"{tmp_path / name}: {says}"
        assert "bundle.save" in error.value.hint
    assert kept(home) == []

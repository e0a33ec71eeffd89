"""Image archives: the same bytes for the same content, and none that no runtime would take passes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rackbox.errors import LabError
from rackbox.oci import Entry, ImageConfig, layer_from_tree, read_image, take_file, write_image, write_layer

REFERENCE = "registry.k8s.io/pause:3.10.2"


def make_image(directory: Path, content: bytes = b"#!") -> Path:
    directory.mkdir(exist_ok=True)
    layer = write_layer(directory / "layer.tar", [Entry("/pause", content), Entry("tmp", mode=0o1777)], 0)
    write_image(directory / "image.tar", REFERENCE, [layer], ImageConfig(("/pause",), "amd64", 0))
    return directory / "image.tar"


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
        return found


def test_what_is_written_is_read(tmp_path: Path) -> None:
    image = read_image(make_image(tmp_path))
    assert (image.reference, image.arch, image.entrypoint) == (REFERENCE, "amd64", ("/pause",))


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = make_image(tmp_path / "a"), make_image(tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes() != make_image(tmp_path / "c", b"another").read_bytes()


def test_it_is_an_oci_layout_and_what_docker_saves(tmp_path: Path) -> None:
    found = members(make_image(tmp_path))
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    described = json.loads(found["index.json"])["manifests"][0]
    assert described["annotations"]["io.containerd.image.name"] == REFERENCE
    (saved,) = json.loads(found["manifest.json"])
    assert saved["RepoTags"] == [REFERENCE]
    config = json.loads(found[saved["Config"]])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{Path(name).name}" for name in saved["Layers"]]
    with tarfile.open(fileobj=io.BytesIO(found[saved["Layers"][0]])) as layer:
        assert [(item.name, oct(item.mode), item.uid, item.mtime) for item in layer.getmembers()] == [
            ("pause", "0o755", 0, 0),
            ("tmp", "0o1777", 0, 0),
        ]


def test_directories_above_a_file_are_there(tmp_path: Path) -> None:
    write_layer(tmp_path / "layer.tar", [Entry("/opt/bin/flanneld", b"x"), Entry("bin", link="usr/bin")], 0)
    with tarfile.open(tmp_path / "layer.tar") as layer:
        kinds = {item.name: item.type for item in layer.getmembers()}
    assert kinds == {
        "bin": tarfile.SYMTYPE,
        "opt": tarfile.DIRTYPE,
        "opt/bin": tarfile.DIRTYPE,
        "opt/bin/flanneld": tarfile.REGTYPE,
    }


def rewrite(path: Path, change: dict[str, bytes | None]) -> None:
    found: dict[str, Any] = {**members(path), **change}
    with tarfile.open(path, "w") as archive:
        for name, content in found.items():
            if content is not None:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def test_a_changed_layer_is_found(tmp_path: Path) -> None:
    path = make_image(tmp_path)
    layer = json.loads(members(path)["manifest.json"])[0]["Layers"][0]
    rewrite(path, {layer: b"other"})
    with pytest.raises(LabError, match=rf"{layer}: must be sha256:[0-9a-f]+, \d+ bytes; got sha256:[0-9a-f]+, 5 bytes"):
        read_image(path)


def test_a_missing_layer_is_found(tmp_path: Path) -> None:
    path = make_image(tmp_path)
    rewrite(path, {json.loads(members(path)["manifest.json"])[0]["Layers"][0]: None})
    with pytest.raises(LabError, match=r"image\.tar: not an image archive that can be used: KeyError"):
        read_image(path)


@pytest.mark.parametrize(
    "index",
    [b"[]", b"{", b"{}", b'{"manifests": []}', b'{"manifests": [{"digest": "sha256:../../x", "annotations": {}}]}'],
)
def test_an_index_that_names_nothing(index: bytes, tmp_path: Path) -> None:
    path = make_image(tmp_path)
    rewrite(path, {"index.json": index})
    with pytest.raises(LabError, match="not an image archive that can be used"):
        read_image(path)


def test_not_an_archive_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"nothing")
    with pytest.raises(LabError, match=r"x\.tar: not an image archive"):
        read_image(path)


def test_a_layer_of_a_tree_leaves_out_and_puts_on_top(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tree.tar", "w") as tree:
        for name, kind in (
            ("./usr", tarfile.DIRTYPE),
            ("./usr/sbin", tarfile.DIRTYPE),
            ("./usr/sbin/nft", tarfile.REGTYPE),
            ("./usr/share/doc/nft", tarfile.REGTYPE),
            ("./dev/null", tarfile.CHRTYPE),
            ("./usr/sbin/same", tarfile.LNKTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mtime, member.uid = kind, 99, 7
            member.size = 3 if kind == tarfile.REGTYPE else 0
            member.linkname = "./usr/sbin/nft" if kind == tarfile.LNKTYPE else ""
            tree.addfile(member, io.BytesIO(b"nft"))
    entries = [Entry("usr/sbin/iptables", link="xtables-nft-multi")]
    layer_from_tree(tmp_path / "layer.tar", tmp_path / "tree.tar", entries, 0, ["usr/share/doc/", "dev/"])
    with tarfile.open(tmp_path / "layer.tar") as layer:
        listed = {item.name: item for item in layer.getmembers()}
        same = layer.extractfile("usr/sbin/same")
        assert same is not None
        assert same.read() == b"nft"
    assert sorted(listed) == ["usr", "usr/sbin", "usr/sbin/iptables", "usr/sbin/nft", "usr/sbin/same"]
    assert {(item.uid, item.mtime) for item in listed.values()} == {(0, 0)}


def test_a_file_is_taken_out_as_a_runtime_would_see_it(tmp_path: Path) -> None:
    layers = [write_layer(tmp_path / f"{text}.tar", [Entry("/flannel", text.encode())], 0) for text in ("old", "new")]
    layers.append(write_layer(tmp_path / "other.tar", [Entry("/etc/other", b"")], 0))
    write_image(tmp_path / "image.tar", REFERENCE, layers, ImageConfig(("/flannel",), "amd64", 0))
    take_file(tmp_path / "image.tar", "/flannel", tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"new"
    with pytest.raises(LabError, match=r"image\.tar: must have /no in a layer"):
        take_file(tmp_path / "image.tar", "/no", tmp_path / "none")
    (tmp_path / "broken.tar").write_bytes(b"no archive")
    with pytest.raises(LabError, match=r"broken\.tar: /no cannot be taken out: ReadError"):
        take_file(tmp_path / "broken.tar", "/no", tmp_path / "none")
    assert not (tmp_path / "none").exists()

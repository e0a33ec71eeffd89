"""A small bundle that is whole: every program and image a cluster needs, with a few bytes in each."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from rackbox.box import sha256_of
from rackbox.bundle import Bundle, read_bundle
from rackbox.bundle_recipe import COMPONENTS, IMAGES
from rackbox.oci import Entry, ImageConfig, write_image, write_layer

VERSIONS = {
    "kubernetes": "1.36.3",
    "etcd": "3.6.8",
    "coredns": "1.14.2",
    "pause": "3.10.2",
    "flannel": "0.28.4",
    "flannel-cni": "1.9.1-flannel1",
    "metallb": "0.15.2",
    "cni-plugins": "1.9.1",
    "containerd": "2.3.7",
    "gluster-csi": "1.0.0",
    "csi-provisioner": "6.3.0",
    "csi-resizer": "2.2.0",
    "traefik": "3.6.12",
}


ENGINE = "26.1.5+dfsg1-9+deb13u1"
DEBS = {f"docker.io_{ENGINE}": "engine", f"docker-cli_{ENGINE}": "client", "tini_0.19.0-3": "init", "libc6_2.41-12": ""}


def write_tree(target: Path, programs: dict[str, str]) -> None:
    """A root file system as mmdebstrap leaves one: programs, and the packages that they came in."""
    with tarfile.open(target, "w") as archive:
        for name, text in {**programs, **{f"var/cache/apt/archives/{deb}_amd64.deb": deb for deb in DEBS}}.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def make_document(root: Path, versions: dict[str, str] | None = None, built: str = "2026-11-22T04:00:00+00:00") -> Any:
    """Write the parts below ``root``; the manifest's content."""
    versions = {**VERSIONS, **(versions or {})}
    for directory in ("bin", "cni", "images", "manifests"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    files, images = [], []
    for component in COMPONENTS:
        for program in component.programs:
            if program.install:
                (root / program.path).write_text(f"{program.name} {versions[component.name]}")
                listed = {"path": program.path, "component": component.name, "mode": "0755"}
                files.append({**listed, "install": program.install, "on": list(program.on)})
    for image in IMAGES:
        path = f"images/{image.name}.tar"
        reference = image.reference.format(version=versions[image.component])
        layer = write_layer(root / "layer.tar", [Entry(image.inside, reference.encode())], 0)
        digest = write_image(root / path, reference, [layer], ImageConfig((image.inside,), "amd64", 0))
        (root / "layer.tar").unlink()
        listed = {"path": path, "component": image.component, "reference": reference, "digest": digest}
        images.append({**listed, "on": list(image.on)})
    name = next(image["reference"] for image in images if image["component"] == "flannel")
    (root / "manifests/flannel.yaml").write_text(f"image: {name}\n")
    manifests: list[dict[str, Any]] = [{"path": "manifests/flannel.yaml", "component": "flannel", "images": [name]}]
    for entry in (*files, *images, *manifests):
        path_of = root / str(entry["path"])
        entry["sha256"], entry["size"] = sha256_of(path_of), path_of.stat().st_size
    return {
        "schema": 1,
        "kind": "rackbox-kubernetes-bundle",
        "version": root.name,
        "kubernetes": versions["kubernetes"],
        "arch": "amd64",
        "from": "go",
        "built": built,
        "components": versions,
        "files": files,
        "images": images,
        "manifests": manifests,
    }


def make_bundle(root: Path, versions: dict[str, str] | None = None, built: str = "2026-11-22T04:00:00+00:00") -> Bundle:
    document = make_document(root, versions, built)
    (root / "manifest.json").write_text(json.dumps(document))
    return read_bundle(root)

"""Whether a bundle can be used, and for what: found out before anything boots.

Entry points: ``check_bundle`` (whole, and every image there), ``check_upgrade`` and ``check_skew`` (kubeadm's rules for
versions).
"""

from __future__ import annotations

import re

from rackbox.box import sha256_of
from rackbox.bundle import REBUILD, Bundle, minor_of, release_numbers
from rackbox.bundle_recipe import IMAGES
from rackbox.errors import LabError
from rackbox.oci import read_image

OLDER_KUBELETS = 3
"""Minors that a kubelet may be behind the API servers (Kubernetes' version skew policy; kubeadm refuses more)."""
PROGRAMS = ("kubeadm", "kubelet", "kubectl")


def check_bundle(bundle: Bundle, *, arch: str, stacked_etcd: bool = False) -> None:
    """Raise ``LabError`` unless the bundle is for this architecture, complete and unchanged."""
    if bundle.arch != arch:
        raise LabError(
            f"bundle {bundle.version}: arch: must be {arch}, as this computer is; got {bundle.arch}",
            "make a bundle here with `./lab bundle`",
        )
    check_complete(bundle, stacked_etcd=stacked_etcd)
    check_files(bundle)
    check_images(bundle)


def check_complete(bundle: Bundle, *, stacked_etcd: bool = False) -> None:
    """Raise unless every program and image that a cluster needs is named by the bundle's manifest."""
    there = {file.path.rpartition("/")[2] for file in bundle.files}
    missing = [f"program {name}" for name in PROGRAMS if name not in there]
    references = {image.reference for image in bundle.images}
    repositories = {reference.rpartition(":")[0] for reference in references}
    for image in IMAGES:
        if image.name == "etcd" and not stacked_etcd:
            continue
        if image.optional and image.component not in bundle.components:
            continue
        repository = image.reference.rpartition(":")[0]
        version = bundle.components.get(image.component)
        wanted = image.reference.format(version=version) if version else repository
        if wanted not in references and (version or repository not in repositories):
            missing.append(f"image {wanted}")
    for manifest in bundle.manifests:
        missing += [f"image {name}, of {manifest.path}" for name in manifest.images if name not in references]
    if missing:
        raise LabError(
            f"bundle {bundle.version} ({bundle.root}): missing: {'; '.join(dict.fromkeys(missing))}", REBUILD
        )


def check_files(bundle: Bundle) -> None:
    """Raise unless every file is there with its size and SHA-256."""
    for part in bundle.parts:
        path = bundle.root / part.path
        if not path.is_file():
            raise LabError(f"{path}: no such file, though the bundle's manifest names it", REBUILD)
        if (size := path.stat().st_size) != part.size:
            raise LabError(f"{path}: truncated or changed: must be {part.size} bytes; got {size}", REBUILD)
        if (found := sha256_of(path)) != part.sha256:
            raise LabError(f"{path}: changed: SHA-256 must be {part.sha256}; got {found}", REBUILD)


def check_images(bundle: Bundle) -> None:
    """Raise unless each archive holds the image that the manifest says, for the bundle's architecture."""
    for image in bundle.images:
        path = bundle.root / image.path
        held = read_image(path)
        for what, got, must in (
            ("reference", held.reference, image.reference),
            ("digest", held.digest, image.digest),
            ("architecture", held.arch, bundle.arch),
        ):
            if got != must:
                raise LabError(f"{path}: {what}: must be {must}; got {got}", REBUILD)


def check_floor(component: str, found: str, floor: str, why: str) -> None:
    """Raise if a program from elsewhere is older than what the minor asks for."""
    if release_numbers(found) < release_numbers(floor):
        raise LabError(f"{component}: must be {floor} or newer, for {why}; got {found}")


def check_skew(kubeadm: str, control_plane: str, kubelet: str) -> None:
    """Raise unless kubeadm of that release may set up these: the control plane of its own minor or the one before, a
    kubelet not newer than the control plane and at most three minors older."""
    tool, plane, node = (_minor(version) for version in (kubeadm, control_plane, kubelet))
    if not tool - 1 <= plane <= tool:
        raise LabError(
            f"kubeadm {kubeadm}: the control plane must be 1.{tool} or 1.{tool - 1}; got {control_plane}",
            f"use a bundle of {minor_of(control_plane)}",
        )
    if node > plane:
        raise LabError(
            f"kubelet {kubelet}: must not be newer than the control plane; got {control_plane} there",
            "upgrade the control plane first",
        )
    if plane - node > OLDER_KUBELETS:
        raise LabError(
            f"kubelet {kubelet}: must be at most {OLDER_KUBELETS} minors older than the control plane {control_plane}",
            "upgrade the machine first",
        )


def check_upgrade(running: str, bundle: Bundle) -> None:
    """Raise unless a cluster of the release ``running`` can go to the bundle's: same minor or the next, not back."""
    now, then = _minor(running), _minor(bundle.kubernetes)
    if release_numbers(bundle.kubernetes) < release_numbers(running):
        raise LabError(
            f"bundle {bundle.version}: must not be older than what runs, {running}; got {bundle.kubernetes}",
            "Kubernetes cannot be downgraded: take a newer bundle",
        )
    if then > now + 1:
        raise LabError(
            f"bundle {bundle.version}: must be 1.{now} or 1.{now + 1}, one minor at a time; got {bundle.kubernetes}",
            f"upgrade to 1.{now + 1} first: `./lab bundle --minor 1.{now + 1}`",
        )


def _minor(release: str) -> int:
    match = re.fullmatch(r"1\.(\d+)\.\d+", release)
    if match is None:
        raise LabError(f"release: must be as 1.36.3; got {release}")
    return int(match[1])

"""`invoke bundle --from upstream` and `--from packages`: a bundle of what others publish, held against their checksums,
and of the driver for volumes, which is ours and built.

``upstream`` takes the projects' releases and images. ``packages`` takes Kubernetes' own programs from its package
repository instead, whose index must be signed by the key that the file of sources names.
Entry points: ``build_from_upstream``, ``load_sources``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from rackbox.apt_repository import extract, open_repository
from rackbox.bundle import Bundle
from rackbox.bundle_cache import KEPT_S, Cache
from rackbox.bundle_components import pack_image, take_component
from rackbox.bundle_debian import docker_files, take_docker
from rackbox.bundle_parts import Bench, Parts, add_manifest, assemble, bundle_builder
from rackbox.bundle_pins import DATA, Pins
from rackbox.bundle_recipe import (
    BIN,
    CNI,
    COMPONENTS,
    CRI_DOCKERD,
    ETCD,
    IMAGES,
    MANIFESTS,
    NODES,
    Component,
    Image,
    reference_of,
)
from rackbox.bundle_sbom import module_part
from rackbox.errors import LabError, MissingTool, Unavailable
from rackbox.oci import take_file
from rackbox.paths import Home
from rackbox.registry import Downloads, fetch_image, find_checksum, get_text, open_session, parse_reference
from rackbox.yamlfile import load_yaml

OTHER_SOURCES = "RACKBOX_SOURCES"
RELEASES = ("kubernetes", "github", "github_api", "github_raw")
PUBLISHED = tuple(image for image in IMAGES if image.published)
BUILT = tuple(image for image in IMAGES if not image.published)
"""Of modules of our own, by a Go toolchain: the driver for volumes."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Base URLs without a slash at the end: of release sites by name, of registries by the host in images' names.
    ``packages`` has ``{minor}`` in it; ``packages_key`` is the fingerprint of the key that signs there."""

    releases: Mapping[str, str]
    registries: Mapping[str, str]
    packages: str
    packages_key: str


@dataclass(frozen=True, slots=True)
class Release:
    """A published file. ``url`` begins with a release site's name and has ``{version}`` and ``{arch}``; ``checksum`` is
    what is put after it, or after its directory (with ``/``), or ``asset``: GitHub's API says it. ``members`` are
    programs in an archive; without any, the file is the program."""

    component: str
    url: str
    checksum: Literal["asset"] | str
    programs: tuple[tuple[str, str], ...]
    """(member of the archive or "", where it is installed)."""
    on: tuple[str, ...]


def _github(repository: str, file: str) -> str:
    return f"github/{repository}/releases/download/v{{version}}/{file}"


_CNI = tuple(
    program.name for component in COMPONENTS if component.name == "cni-plugins" for program in component.programs
)

RELEASED = (
    *(
        Release(
            "kubernetes",
            f"kubernetes/v{{version}}/bin/linux/{{arch}}/{name}",
            ".sha256",
            (("", f"{BIN}/{name}"),),
            NODES,
        )
        for name in ("kubeadm", "kubelet", "kubectl")
    ),
    Release(
        "etcd",
        _github("etcd-io/etcd", "etcd-v{version}-linux-{arch}.tar.gz"),
        "/SHA256SUMS",
        tuple((f"etcd-v{{version}}-linux-{{arch}}/{name}", f"{BIN}/{name}") for name in ("etcd", "etcdctl", "etcdutl")),
        ETCD,
    ),
    Release(
        "containerd",
        _github("containerd/containerd", "containerd-static-{version}-linux-{arch}.tar.gz"),
        ".sha256sum",
        tuple((f"bin/{name}", f"{BIN}/{name}") for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        NODES,
    ),
    Release(
        "cni-plugins",
        _github("containernetworking/plugins", "cni-plugins-linux-{arch}-v{version}.tgz"),
        ".sha256",
        tuple((name, f"{CNI}/{name}") for name in _CNI),
        NODES,
    ),
    Release(
        "crictl",
        _github("kubernetes-sigs/cri-tools", "crictl-v{version}-linux-{arch}.tar.gz"),
        ".sha256",
        (("crictl", f"{BIN}/crictl"),),
        NODES,
    ),
    Release(
        "cri-dockerd",
        _github("Mirantis/cri-dockerd", "cri-dockerd-{version}.{arch}.tgz"),
        "asset",
        (("cri-dockerd/cri-dockerd", f"{BIN}/cri-dockerd"),),
        NODES,
    ),
)
PACKAGED = {
    "kubeadm": "kubernetes",
    "kubelet": "kubernetes",
    "kubectl": "kubernetes",
    "cri-tools": "crictl",
}
"""Packages of the Kubernetes project, and the component that each holds: /usr/bin/<program>."""
IN_IMAGES = {
    image.name: program
    for image in IMAGES
    for component in COMPONENTS
    for program in component.programs
    if component.name == image.component and program.name == image.program and program.install
    if component.name not in {release.component for release in RELEASED}
}
"""Programs for machines that their project publishes in an image, by the image's name: flannel's CNI plugin."""
MANIFEST_URLS = {
    "flannel.yaml": _github("flannel-io/flannel", "kube-flannel.yml"),
    "metallb.yaml": "github_raw/metallb/metallb/v{version}/config/manifests/metallb-native.yaml",
}


def load_sources(path: Path | None = None) -> Sources:
    """The base URLs of a file like ``packaging/bundle/sources.yaml``, which is the default; RACKBOX_SOURCES names
    another."""
    path = path or Path(os.environ.get(OTHER_SOURCES) or DATA / "sources.yaml")
    document = load_yaml(path).data
    groups: dict[str, dict[str, str]] = {}
    needed = [image for image in PUBLISHED if not image.optional]
    hosts = sorted({parse_reference(image.reference.format(version="0")).host for image in needed})
    for group, wanted in (("releases", RELEASES), ("registries", tuple(hosts))):
        given = document.get(group)
        if not isinstance(given, dict):
            raise LabError(f"{path}: {group}: must be a mapping of names to URLs; got {given!r}")
        for name in wanted:
            check_url(path, f"{group}.{name}", given.get(name))
        groups[group] = {str(name): str(url).rstrip("/") for name, url in given.items()}
    packages, key = document.get("packages") or {}, ""
    if packages:
        key = str(packages.get("key", "")).replace(" ", "").upper()
        if not re.fullmatch(r"[0-9A-F]{40}", key):
            raise LabError(f"{path}: packages.key: must be a fingerprint of 40 hex digits; got {packages.get('key')!r}")
        check_url(path, "packages.url", packages.get("url"))
    return Sources(groups["releases"], groups["registries"], str(packages.get("url", "")).rstrip("/"), key)


def check_url(path: Path, where: str, url: object) -> None:
    if not isinstance(url, str) or not url.startswith(("https://", "http://127.", "http://localhost")):
        raise LabError(f"{path}: {where}: must be a URL with https:// (http:// only on this computer); got {url!r}")


def build_from_upstream(
    home: Home,
    pins: Pins,
    arch: str,
    sources: Sources,
    console: Console,
    *,
    packages: bool = False,
    docker: bool = False,
) -> Bundle:
    """A complete bundle in the catalogue, with Kubernetes' programs from its ``packages`` or its releases; with
    ``docker`` also cri-dockerd, and Docker Engine as Debian has it. What was fetched is kept by its checksum for the
    next try."""
    started = time.monotonic()
    with bundle_builder(home) as work:
        out = work / "bundle"
        for directory in ("bin", "cni", "images", "manifests"):
            (out / directory).mkdir(parents=True)
        downloads = Downloads(home.data / "cache" / "upstream", open_session())
        taking = _Taking(downloads, sources, pins, arch, out, Parts(), console)
        packaged = set(PACKAGED.values()) if packages else set()
        log = home.bundles / f"build-{pins.minor}-{arch}.log"
        log.unlink(missing_ok=True)
        bench = Bench(Cache(home.data / "cache" / "bundle"), arch, work, log, console)
        keys: dict[str, str] = {}
        if docker:
            docker_files(taking.parts, take_docker(bench, keys), out)
        if packages:
            taking.take_packages()
        left_out = packaged if docker else packaged | {CRI_DOCKERD.name}
        taking.take_releases([release for release in RELEASED if release.component not in left_out])
        taking.take_volumes(bench, keys)
        taking.take_images()
        taking.take_manifests()
        bench.cache.drop_others(keys, KEPT_S, time.time())
        bundle = assemble(home, out, pins, arch, "packages" if packages else "upstream", taking.parts, taking.made_by)
    console.print(
        f"[green]✓[/] bundle {bundle.version}: {len(bundle.files)} programs, {len(bundle.images)} images, "
        f"{bundle.size >> 20} MiB  {time.monotonic() - started:.0f} s"
    )
    return bundle


@dataclass(frozen=True, slots=True)
class _Taking:
    """One bundle while it is fetched into ``out``."""

    downloads: Downloads
    sources: Sources
    pins: Pins
    arch: str
    out: Path
    parts: Parts
    console: Console
    made_by: dict[str, str] = field(default_factory=dict)
    """``go``: the toolchain, if something was built."""

    @property
    def versions(self) -> Mapping[str, str]:
        return {**self.pins.components, **self.pins.only_upstream}

    def take_packages(self) -> None:
        base = self.sources.packages.format(minor=self.pins.minor)
        repository = open_repository(self.downloads, base, self.sources.packages_key)
        for name, component in PACKAGED.items():
            package = repository.find(name, self.versions[component], self.arch)
            file = self.downloads.fetch(package.url, package.sha256)
            program = "crictl" if component == "crictl" else name
            extract(file, f"usr/bin/{program}", self.out / "bin" / program, package.url)
            self._add_program(f"bin/{program}", component, f"{BIN}/{program}", NODES)
            self._say(f"{name} {package.version}")

    def take_releases(self, releases: Sequence[Release]) -> None:
        for release in releases:
            version = self.versions[release.component]
            url = _url(self.sources, release.url, version, self.arch)
            file = self.downloads.fetch(url, _published_checksum(self.downloads, self.sources, release, url, version))
            self._say(f"{url.rpartition('/')[2]} of {release.component} {version}")
            for member, install in release.programs:
                path = f"{'cni' if install.startswith(CNI) else 'bin'}/{PurePosixPath(install).name}"
                _take(file, member.format(version=version, arch=self.arch), self.out / path, url)
                self._add_program(path, release.component, install, release.on)

    def take_volumes(self, bench: Bench, keys: dict[str, str]) -> None:
        """The driver for volumes, which is built here for nobody publishes it, and the images beside it: all, or none
        where there is no Go, or somebody does not have his part. A bundle without is good for the rest."""
        beside = [image for image in PUBLISHED if image.beside]
        try:
            built = [(image, take_component(bench, _component_of(image), self.pins, keys)) for image in BUILT]
            fetched = [self._fetch(image) for image in beside]
        except (MissingTool, Unavailable) as error:
            for image in beside:
                (self.out / f"images/{image.name}.tar").unlink(missing_ok=True)
            why = ". ".join(filter(None, (error.message.splitlines()[0].rstrip(":"), error.hint)))
            self.console.print(f"[yellow]![/] left out: volumes for claims. {escape(why)}", soft_wrap=True)
            return
        for image, kept in built:
            self.made_by["go"] = kept.notes["go"]
            self.parts.images.append(pack_image(image, self.pins, self.arch, kept, bench.work, self.out))
            self.parts.materials += [module_part(module) for module in kept.notes["modules"]]
        self.parts.images += fetched

    def take_images(self) -> None:
        for image in PUBLISHED:
            if image.beside:
                continue
            reference = reference_of(image, self.pins.components)
            if image.optional and parse_reference(reference).host not in self.sources.registries:
                self._say(f"{reference} left out: the file of sources has no registry for it")
                continue
            self.parts.images.append(self._fetch(image))
            program = IN_IMAGES.get(image.name)
            if program is not None:
                take_file(self.out / f"images/{image.name}.tar", image.inside, self.out / program.path)
                (self.out / program.path).chmod(0o755)
                self._add_program(program.path, image.component, program.install, program.on)

    def _fetch(self, image: Image) -> dict[str, Any]:
        """An image from its registry; its entry in the manifest."""
        reference = reference_of(image, self.pins.components)
        path = f"images/{image.name}.tar"
        base = self.sources.registries.get(parse_reference(reference).host, "")
        digest = fetch_image(self.downloads, base, reference, self.arch, self.out / path)
        self._say(f"{reference} {digest[:19]}…")
        entry = {"path": path, "component": image.component, "reference": reference, "digest": digest}
        return {**entry, "on": list(image.on)}

    def take_manifests(self) -> None:
        for manifest in MANIFESTS:
            url = _url(self.sources, MANIFEST_URLS[manifest.name], self.versions[manifest.component], self.arch)
            file = self.downloads.fetch(url, self.pins.checksums[manifest.name])
            add_manifest(self.parts, manifest, file, self.pins, self.out)

    def _add_program(self, path: str, component: str, install: str, on: tuple[str, ...]) -> None:
        entry = {"path": path, "component": component, "mode": "0755", "install": install, "on": list(on)}
        self.parts.files.append(entry)

    def _say(self, what: str) -> None:
        self.console.print(f"[green]✓[/] {what}", soft_wrap=True)


def _component_of(image: Image) -> Component:
    return next(component for component in COMPONENTS if component.name == image.component)


def _url(sources: Sources, template: str, version: str, arch: str) -> str:
    site, _, rest = template.partition("/")
    return f"{sources.releases[site]}/{rest.format(version=version, arch=arch)}"


def _published_checksum(downloads: Downloads, sources: Sources, release: Release, url: str, version: str) -> str:
    name = url.rpartition("/")[2]
    if release.checksum == "asset":
        repository = "/".join(release.url.split("/")[1:3])
        where = f"{sources.releases['github_api']}/repos/{repository}/releases/tags/v{version}"
        return asset_checksum(get_text(downloads.session, where), name, where)
    where = url.rpartition("/")[0] + release.checksum if release.checksum.startswith("/") else url + release.checksum
    return find_checksum(get_text(downloads.session, where), name, where)


def asset_checksum(text: str, name: str, where: str) -> str:
    """The SHA-256 that GitHub's API says of a release's file (field ``digest`` of ``assets``)."""
    try:
        assets: list[dict[str, Any]] = json.loads(text)["assets"]
        digest = next(str(asset["digest"]) for asset in assets if asset["name"] == name)
    except (ValueError, KeyError, TypeError, StopIteration):
        raise LabError(f"{where}: must hold the digest of {name}") from None
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64:
        raise LabError(f"{where}: {name}: digest: must be sha256: and 64 hex digits; got {digest}")
    return value


def _take(file: Path, member: str, target: Path, url: str) -> None:
    """Copy a program, out of an archive if ``member`` names one in it."""
    if not member:
        shutil.copyfile(file, target)
    else:
        try:
            with tarfile.open(file) as archive:
                names = {item.name.removeprefix("./"): item for item in archive.getmembers() if item.isfile()}
                content = archive.extractfile(names[member])
                assert content is not None
                with content, target.open("wb") as stream:
                    shutil.copyfileobj(content, stream)
        except (tarfile.TarError, KeyError) as error:
            raise LabError(f"{url}: must be an archive with {member}: {error}") from error
    target.chmod(0o755)

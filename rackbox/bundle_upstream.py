"""`invoke bundle --from upstream`: a bundle of published releases and images, each held against its published checksum.

Entry points: ``build_from_upstream``, ``load_sources``.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rich.console import Console

from rackbox.bundle import Bundle
from rackbox.bundle_build import Parts, add_manifest, assemble, bundle_builder
from rackbox.bundle_pins import DATA, Pins
from rackbox.bundle_recipe import BIN, CNI, COMPONENTS, ETCD, IMAGES, MANIFESTS, NODES, reference_of
from rackbox.errors import LabError
from rackbox.paths import Home
from rackbox.registry import Downloads, fetch_image, find_checksum, get_text, open_session, parse_reference
from rackbox.yamlfile import load_yaml

RELEASES = ("kubernetes", "github", "github_api", "github_raw")
PUBLISHED = tuple(image for image in IMAGES if not image.optional)


@dataclass(frozen=True, slots=True)
class Sources:
    """Base URLs without a slash at the end: of release sites by name, of registries by the host in images' names."""

    releases: Mapping[str, str]
    registries: Mapping[str, str]


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
MANIFEST_URLS = {
    "flannel.yaml": _github("flannel-io/flannel", "kube-flannel.yml"),
    "metallb.yaml": "github_raw/metallb/metallb/v{version}/config/manifests/metallb-native.yaml",
}


def load_sources(path: Path | None = None) -> Sources:
    """The base URLs of a file like ``packaging/bundle/sources.yaml``, which is the default."""
    path = path or DATA / "sources.yaml"
    document = load_yaml(path).data
    groups: dict[str, dict[str, str]] = {}
    hosts = sorted({parse_reference(image.reference.format(version="0")).host for image in PUBLISHED})
    for group, wanted in (("releases", RELEASES), ("registries", tuple(hosts))):
        given = document.get(group)
        if not isinstance(given, dict):
            raise LabError(f"{path}: {group}: must be a mapping of names to URLs; got {given!r}")
        for name in wanted:
            url = given.get(name)
            if not isinstance(url, str) or not url.startswith(("https://", "http://127.", "http://localhost")):
                raise LabError(
                    f"{path}: {group}.{name}: must be a URL with https:// (http:// only on this computer); got {url!r}"
                )
        groups[group] = {str(name): str(url).rstrip("/") for name, url in given.items()}
    return Sources(groups["releases"], groups["registries"])


def build_from_upstream(home: Home, pins: Pins, arch: str, sources: Sources, console: Console) -> Bundle:
    """A complete bundle in the catalogue. What was fetched is kept by its checksum for the next try."""
    started = time.monotonic()
    versions = {**pins.components, **pins.only_upstream}
    with bundle_builder(home) as work:
        downloads = Downloads(home.data / "cache" / "upstream", open_session())
        out = work / "bundle"
        for directory in ("bin", "cni", "images", "manifests"):
            (out / directory).mkdir(parents=True)
        parts = Parts()
        for release in RELEASED:
            version = versions[release.component]
            url = _url(sources, release.url, version, arch)
            file = downloads.fetch(url, _published_checksum(downloads, sources, release, url, version))
            console.print(f"[green]✓[/] {url.rpartition('/')[2]} of {release.component} {version}", soft_wrap=True)
            for member, install in release.programs:
                name = PurePosixPath(install).name
                path = f"{'cni' if install.startswith(CNI) else 'bin'}/{name}"
                _take(file, member.format(version=version, arch=arch), out / path, url)
                parts.files.append(
                    {
                        "path": path,
                        "component": release.component,
                        "mode": "0755",
                        "install": install,
                        "on": list(release.on),
                    }
                )
        for image in PUBLISHED:
            reference = reference_of(image, pins.components)
            path = f"images/{image.name}.tar"
            base = sources.registries[parse_reference(reference).host]
            digest = fetch_image(downloads, base, reference, arch, out / path)
            console.print(f"[green]✓[/] {reference} {digest[:19]}…", soft_wrap=True)
            parts.images.append(
                {
                    "path": path,
                    "component": image.component,
                    "reference": reference,
                    "digest": digest,
                    "on": list(image.on),
                }
            )
        for manifest in MANIFESTS:
            url = _url(sources, MANIFEST_URLS[manifest.name], versions[manifest.component], arch)
            file = downloads.fetch(url, pins.checksums[manifest.name])
            add_manifest(parts, manifest, file, pins, out)
        bundle = assemble(home, out, pins, arch, "upstream", parts, {})
    console.print(
        f"[green]✓[/] bundle {bundle.version}: {len(bundle.files)} programs, {len(bundle.images)} images, "
        f"{bundle.size >> 20} MiB  {time.monotonic() - started:.0f} s"
    )
    return bundle


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

"""Kubernetes bundles: what a lab needs to run Kubernetes without a network. Reads them, builds none.

A bundle is a directory ``<home>/bundles/<version>/`` with ``manifest.json``, programs, image archives and manifests; it
appears by one rename when it is complete. Entry points: ``read_bundle``, ``list_bundles``, ``find_bundle``.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from rackbox.errors import LabError
from rackbox.paths import Home

SCHEMA = 1
KIND = "rackbox-kubernetes-bundle"
MANIFEST = "manifest.json"
REBUILD = "make the bundle again with `./lab bundle`"
MAKE_RUNTIME = "make a bundle that has Docker with `./lab bundle --docker`"
MACHINES = ("control-plane", "worker", "etcd")
"""Where a part may be needed. ``etcd`` is a machine that runs etcd as a service."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""uname(2)'s names → Go's and Debian's."""

RUNTIMES: Mapping[str, tuple[str, ...]] = {"containerd": (), "docker": ("docker", "cri-dockerd")}
"""Which components a bundle must have for each runtime of a lab."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[0-9A-Za-z][\w.+-]*")
"""Also a directory's name."""
_RELEASE = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A program. ``path`` is below the bundle, ``install`` where it goes on the machines of ``on``, ``mode`` octal."""

    path: str
    sha256: str
    size: int
    component: str
    mode: int
    install: str
    on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BundleImage:
    """An archive with one image. ``reference`` is the name that pods use, ``digest`` the image manifest's."""

    path: str
    sha256: str
    size: int
    component: str
    reference: str
    digest: str
    on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """A file for ``kubectl apply``; ``images`` are the references that it names."""

    path: str
    sha256: str
    size: int
    component: str
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version, as its manifest says. ``components`` maps each to its version, without ``v``."""

    root: Path
    version: str
    kubernetes: str
    arch: str
    source: str
    built: datetime
    components: Mapping[str, str]
    files: tuple[BundleFile, ...]
    images: tuple[BundleImage, ...]
    manifests: tuple[BundleManifest, ...]

    @property
    def minor(self) -> str:
        return minor_of(self.kubernetes)

    @property
    def parts(self) -> tuple[BundleFile | BundleImage | BundleManifest, ...]:
        return (*self.files, *self.images, *self.manifests)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.size for part in self.parts)


def runtimes_of(components: Collection[str]) -> tuple[str, ...]:
    """The container runtimes that a bundle with these components is enough for. containerd may be the boxes' own."""
    return tuple(name for name, needed in RUNTIMES.items() if {*needed} <= {*components})


def minor_of(release: str) -> str:
    """``1.36.3`` → ``1.36``."""
    return ".".join(release.split(".")[:2])


def release_numbers(release: str) -> tuple[int, ...]:
    """``1.36.3`` → ``(1, 36, 3)``, for comparing; what follows the third number is left out."""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:3])


def machine_arch() -> str:
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def read_bundle(root: Path) -> Bundle:
    """The bundle in a directory; raises ``LabError`` with the file and the entry for one that cannot be used.

    Looks at the manifest alone: ``rackbox.bundle_check`` holds the files against it.
    """
    path = root / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"{path}: no such file: {root} is no Kubernetes bundle", REBUILD) from None
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: cannot be read: {error}", REBUILD) from error
    return parse_bundle(document, root)


def parse_bundle(document: Any, root: Path) -> Bundle:
    """A bundle from its manifest's content. Every value is looked at: later stages trust them."""
    read = _Reader(str(root / MANIFEST))
    top = read.mapping("", document)
    read.equal("kind", top.get("kind"), KIND)
    read.equal("schema", top.get("schema"), SCHEMA)
    kubernetes = read.matching("kubernetes", top.get("kubernetes"), _RELEASE, "a release such as 1.36.3")
    built = read.text("built", top.get("built"))
    try:
        when = datetime.fromisoformat(built).astimezone(UTC)
    except ValueError:
        raise read.error("built", "a date and time such as 2026-01-31T12:00:00+00:00", built) from None
    components = read.mapping("components", top.get("components"))
    bundle = Bundle(
        root=root,
        version=read.matching("version", top.get("version"), _NAME, "a name such as 1.36.3-amd64-0123abcd"),
        kubernetes=kubernetes,
        arch=read.text("arch", top.get("arch")),
        source=read.text("from", top.get("from")),
        built=when,
        components={str(name): read.text(f"components.{name}", value) for name, value in components.items()},
        files=tuple(_file(read, where, item) for where, item in read.items("files", top.get("files"))),
        images=tuple(_image(read, where, item) for where, item in read.items("images", top.get("images"))),
        manifests=tuple(_manifest(read, where, item) for where, item in read.items("manifests", top.get("manifests"))),
    )
    for what, names in (
        ("path", [part.path for part in bundle.parts]),
        ("reference", [image.reference for image in bundle.images]),
        ("install", [file.install for file in bundle.files]),
    ):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise LabError(f"{read.where}: {what}: must be unique; got {twice[0]} twice", REBUILD)
    return bundle


def kept_roots(bundles: Path) -> list[Path]:
    """The directories of a catalogue with a bundle; what begins with a dot is being made, or on its way out."""
    return [path.parent for path in sorted(bundles.glob(f"*/{MANIFEST}")) if not path.parent.name.startswith(".")]


def age_of(bundle: Bundle) -> tuple[tuple[int, ...], datetime]:
    """For sorting: by release, then by when it was made."""
    return release_numbers(bundle.kubernetes), bundle.built


def list_bundles(home: Home) -> tuple[Bundle, ...]:
    """All bundles that are kept and whose manifest can be read, by release and then by age, newest last."""
    found = []
    for root in kept_roots(home.bundles):
        try:
            found.append(read_bundle(root))
        except LabError:  # `bundle.list` says what is wrong with it
            continue
    return tuple(sorted(found, key=age_of))


def find_bundle(home: Home, minor: str = "", arch: str = "") -> Bundle | None:
    """The newest bundle of a minor (default: of any) for an architecture (default: this computer's); None without."""
    wanted = [
        bundle
        for bundle in list_bundles(home)
        if bundle.arch == (arch or machine_arch()) and minor in ("", bundle.minor)
    ]
    return wanted[-1] if wanted else None


def name_bundle(home: Home, wanted: str) -> Bundle:
    """The bundle that a person means: a directory, or the version (or its beginning) of one that is kept."""
    if "/" in wanted or wanted in (".", ".."):
        return read_bundle(Path(wanted))
    found = [bundle for bundle in list_bundles(home) if bundle.version == wanted] or [
        bundle for bundle in list_bundles(home) if wanted and bundle.version.startswith(wanted)
    ]
    if not found:
        known = ", ".join(bundle.version for bundle in list_bundles(home)) or "none"
        raise LabError(f"bundle {wanted!r}: is not there", f"there is: {known}; `./lab bundle` makes one")
    return found[-1]


def _file(read: _Reader, where: str, item: Mapping[str, Any]) -> BundleFile:
    mode = read.text(f"{where}.mode", item.get("mode"))
    if not re.fullmatch(r"0?[0-7]{3}", mode):
        raise read.error(f"{where}.mode", "octal such as 0755", mode)
    install = read.text(f"{where}.install", item.get("install"))
    if not install.startswith("/") or ".." in PurePosixPath(install).parts:
        raise read.error(f"{where}.install", "an absolute path", install)
    return BundleFile(
        *_common(read, where, item), mode=int(mode, 8), install=install, on=read.machines(f"{where}.on", item.get("on"))
    )


def _image(read: _Reader, where: str, item: Mapping[str, Any]) -> BundleImage:
    reference = read.text(f"{where}.reference", item.get("reference"))
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*(:\d+)?(/[a-z0-9._-]+)+:[\w.-]+", reference):
        raise read.error(f"{where}.reference", "HOST/NAME:TAG", reference)
    digest = read.text(f"{where}.digest", item.get("digest"))
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise read.error(f"{where}.digest", "sha256: and 64 hex digits", digest)
    return BundleImage(
        *_common(read, where, item), reference=reference, digest=digest, on=read.machines(f"{where}.on", item.get("on"))
    )


def _manifest(read: _Reader, where: str, item: Mapping[str, Any]) -> BundleManifest:
    images = item.get("images")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise read.error(f"{where}.images", "a list of references", images)
    return BundleManifest(*_common(read, where, item), images=tuple(images))


def _common(read: _Reader, where: str, item: Mapping[str, Any]) -> tuple[str, str, int, str]:
    """path, sha256, size, component."""
    path = read.text(f"{where}.path", item.get("path"))
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise read.error(f"{where}.path", "a path below the bundle", path)
    size = item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise read.error(f"{where}.size", "a number of bytes", size)
    return (
        path,
        read.matching(f"{where}.sha256", item.get("sha256"), _SHA256, "64 hex digits"),
        size,
        read.text(f"{where}.component", item.get("component")),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Says of a value that is not as it must be where it stands."""

    where: str

    def error(self, path: str, must: str, got: object) -> LabError:
        return LabError(f"{self.where}: {path}: must be {must}; got {got!r}"[:400], REBUILD)

    def text(self, path: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self.error(path, "text", value)
        return value

    def matching(self, path: str, value: object, pattern: re.Pattern[str], must: str) -> str:
        text = self.text(path, value)
        if not pattern.fullmatch(text):
            raise self.error(path, must, text)
        return text

    def equal(self, path: str, value: object, must: object) -> None:
        if value != must:
            raise self.error(path, repr(must), value)

    def mapping(self, path: str, value: object) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.error(path, "an object", value)
        return value

    def items(self, path: str, value: object) -> list[tuple[str, Mapping[str, Any]]]:
        if not isinstance(value, list):
            raise self.error(path, "a list", value)
        return [(f"{path}[{number}]", self.mapping(f"{path}[{number}]", item)) for number, item in enumerate(value)]

    def machines(self, path: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or any(name not in MACHINES for name in value):
            raise self.error(path, f"a list of {', '.join(MACHINES)}", value)
        return tuple(value)


def images_for(bundle: Bundle, machine: str) -> Sequence[BundleImage]:
    """The images that a machine of that kind needs, in the manifest's order."""
    return [image for image in bundle.images if machine in image.on]

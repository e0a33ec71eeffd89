"""OCI images as archives, without a container engine: writes them, and reads what is in one.

One archive is both an OCI image layout (image-spec 1.1, image-layout.md) and what `docker save` writes, so that
``ctr images import`` and ``docker load`` take it. The same content gives the same bytes: names are sorted, times fixed,
layers not compressed. Entry points: ``write_layer``, ``write_image``, ``read_image``, ``take_file``,
``config_digest``.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from rackbox.errors import LabError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
NAME = "io.containerd.image.name"
"""The annotation that containerd takes an image's full reference from."""
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHUNK = 1 << 20
SMALL = 4 << 20
"""Bytes that a JSON document in an archive has at most (the distribution specification's limit for manifests)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a layer. ``content`` is bytes or a file to copy; with ``link`` it is a symbolic link; with neither,
    a directory."""

    path: str
    content: bytes | Path | None = None
    link: str = ""
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Blob:
    """``media_type``, ``sha256:…`` and bytes of something in an image, and the file that holds it."""

    media_type: str
    digest: str
    size: int
    file: Path
    diff_id: str
    """Digest of the layer when it is not compressed."""

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What runs in the image by default."""

    entrypoint: tuple[str, ...]
    arch: str
    epoch: int
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An archive that holds what it should. ``files`` are the paths in all layers that could be looked into."""

    reference: str
    digest: str
    arch: str
    entrypoint: tuple[str, ...]


def write_layer(target: Path, entries: Sequence[Entry], epoch: int) -> Blob:
    """A layer of these entries and the directories above them, owned by root."""
    complete = {entry.path.strip("/"): entry for entry in entries}
    for name in list(complete):
        for parent in PurePosixPath(name).parents:
            if str(parent) != ".":
                complete.setdefault(str(parent), Entry(str(parent)))
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(complete):
            _add(archive, name, complete[name], epoch)
    return layer_of(target)


def layer_of(file: Path, media_type: str = LAYER_TYPE) -> Blob:
    """The layer that a tar file which is not compressed is."""
    digest, size = _digest_of(file)
    return Blob(media_type, digest, size, file, digest)


def write_image(target: Path, reference: str, layers: Sequence[Blob], config: ImageConfig) -> str:
    """An archive with one image for ``config.arch``; returns the digest of its manifest."""
    document: dict[str, Any] = {
        "created": datetime.fromtimestamp(config.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": config.arch,
        "os": "linux",
        "config": {"Env": [PATH], "Entrypoint": list(config.entrypoint), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created_by": "rackbox bundle"} for _ in layers],
    }
    if config.user:
        document["config"]["User"] = config.user
    if config.labels:
        document["config"]["Labels"] = dict(sorted(config.labels.items()))
    made = _json(document)
    described = {"mediaType": CONFIG_TYPE, "digest": _sha256(made), "size": len(made)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": described,
        "layers": [layer.descriptor for layer in layers],
    }
    return write_archive(target, reference, _json(manifest), made, layers, config.arch)


def write_archive(
    target: Path,
    reference: str,
    manifest: bytes,
    config: bytes,
    layers: Sequence[Blob],
    arch: str,
    media_type: str = MANIFEST_TYPE,
) -> str:
    """The archive of an image whose manifest and config are there already, byte for byte; returns its digest."""
    digest = _sha256(manifest)
    tag = reference.rpartition(":")[2]
    described = {
        "mediaType": media_type,
        "digest": digest,
        "size": len(manifest),
        "annotations": {NAME: reference, "org.opencontainers.image.ref.name": tag},
        "platform": {"architecture": arch, "os": "linux"},
    }
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [described]}
    saved = [
        {
            "Config": _blob_path(_sha256(config)),
            "RepoTags": [reference],
            "Layers": [_blob_path(layer.digest) for layer in layers],
        }
    ]
    documents: dict[str, bytes | Path] = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json(index),
        "manifest.json": _json(saved),
        _blob_path(digest): manifest,
        _blob_path(_sha256(config)): config,
        **{_blob_path(layer.digest): layer.file for layer in layers},
    }
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in documents.items():  # small ones first: a reader need not go through the layers for them
            _add(archive, name, Entry(name, content, mode=0o644), 0)
    return digest


def read_image(path: Path) -> ReadImage:
    """What an archive holds, each blob against its digest; raises ``LabError`` for one that no runtime would take."""
    try:
        with tarfile.open(path) as archive:
            index = _read_json(archive, "index.json")
            described = index["manifests"][0]
            if len(index["manifests"]) != 1:
                raise ValueError("index.json names more than one image")
            reference = described["annotations"][NAME]
            manifest = _read_json(archive, _blob_path(described["digest"]))
            config = _read_json(archive, _blob_path(manifest["config"]["digest"]))
            for blob in (described, manifest["config"], *manifest["layers"]):
                _check_blob(archive, blob["digest"], blob["size"])
            if len(config["rootfs"]["diff_ids"]) != len(manifest["layers"]):
                raise ValueError("the config does not name as many layers as the manifest")
            entrypoint = tuple(config.get("config", {}).get("Entrypoint") or ())
            return ReadImage(str(reference), str(described["digest"]), str(config["architecture"]), entrypoint)
    except (OSError, tarfile.TarError, ValueError, KeyError, IndexError, TypeError) as error:
        what = f"{type(error).__name__}: {error}" if isinstance(error, KeyError | IndexError | TypeError) else error
        raise LabError(f"{path}: not an image archive that can be used: {what}") from error


def config_digest(path: Path) -> str:
    """The digest of an archive's image config, by which Docker knows the image. Nothing else of it is looked at."""
    try:
        with tarfile.open(path) as archive:
            index = _read_json(archive, "index.json")
            return str(_read_json(archive, _blob_path(index["manifests"][0]["digest"]))["config"]["digest"])
    except (OSError, tarfile.TarError, ValueError, KeyError, IndexError, TypeError) as error:
        raise LabError(f"{path}: not an image archive that can be used: {type(error).__name__}: {error}") from error


def take_file(image: Path, inside: str, target: Path) -> None:
    """Copy a file out of an archive's image: the one that a runtime would see, of the topmost layer that has it."""
    name = inside.lstrip("/")
    try:
        with tarfile.open(image) as archive:
            index = _read_json(archive, "index.json")
            manifest = _read_json(archive, _blob_path(index["manifests"][0]["digest"]))
            for described in reversed(manifest["layers"]):
                with tarfile.open(fileobj=archive.extractfile(_blob_path(described["digest"]))) as layer:
                    found = [item for item in layer if item.isfile() and item.name.removeprefix("./") == name]
                    content = layer.extractfile(found[-1]) if found else None
                    if content is not None:
                        with content, target.open("wb") as stream:
                            shutil.copyfileobj(content, stream)
                        return
    except (OSError, tarfile.TarError, KeyError, IndexError, TypeError) as error:
        raise LabError(f"{image.name}: {inside} cannot be taken out: {type(error).__name__}: {error}") from error
    raise LabError(f"{image.name}: must have {inside} in a layer")


def layer_from_tree(target: Path, tree: Path, entries: Sequence[Entry], epoch: int, leave_out: Sequence[str]) -> Blob:
    """A layer of a root file system (a tar file), with ``entries`` on top and without what begins with ``leave_out``.

    Devices are left out, too: a runtime makes its own.
    """
    on_top = {entry.path.strip("/"): entry for entry in entries}
    with tarfile.open(tree) as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        members = {
            name: member
            for member in source.getmembers()
            if (name := member.name.removeprefix("./").strip("/"))
            and name != "."
            and (member.isfile() or member.isdir() or member.issym() or member.islnk())
            and not name.startswith(tuple(leave_out))
        }
        for name in sorted({*members, *on_top}):
            if name in on_top:
                _add(archive, name, on_top[name], epoch)
                continue
            member = members[name]
            made = tarfile.TarInfo(name)
            made.type, made.mode, made.linkname, made.mtime = member.type, member.mode, member.linkname, epoch
            if member.islnk():  # a hard link, whose other end may have been left out or come later: a copy
                made.type, made.linkname = tarfile.REGTYPE, ""
                member = source.getmember(member.linkname)
            content = source.extractfile(member) if member.isfile() else None
            made.size = member.size if content is not None else 0
            archive.addfile(made, content)
    return layer_of(target)


def _add(archive: tarfile.TarFile, name: str, entry: Entry, epoch: int) -> None:
    made = tarfile.TarInfo(name)
    made.mtime, made.mode = epoch, entry.mode
    stream: IO[bytes] | None = None
    if entry.link:
        made.type, made.linkname, made.mode = tarfile.SYMTYPE, entry.link, 0o777
    elif entry.content is None:
        made.type = tarfile.DIRTYPE
    elif isinstance(entry.content, bytes):
        made.size, stream = len(entry.content), io.BytesIO(entry.content)
    else:
        made.size = entry.content.stat().st_size
        with entry.content.open("rb") as stream:
            archive.addfile(made, stream)
        return
    archive.addfile(made, stream)


def _read_json(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    member = archive.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is not a file")
    document = json.loads(member.read(SMALL))
    if not isinstance(document, dict):
        raise ValueError(f"{name} must be an object")
    return document


def _check_blob(archive: tarfile.TarFile, digest: str, size: int) -> None:
    name = _blob_path(digest)
    member = archive.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is not a file")
    found, read = hashlib.sha256(), 0
    while chunk := member.read(CHUNK):
        found.update(chunk)
        read += len(chunk)
    if (f"sha256:{found.hexdigest()}", read) != (digest, size):
        raise ValueError(f"{name}: must be {digest}, {size} bytes; got sha256:{found.hexdigest()}, {read} bytes")


def _digest_of(file: Path) -> tuple[str, int]:
    with file.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}", file.stat().st_size


def _blob_path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64:
        raise ValueError(f"digest must be sha256: and 64 hex digits; got {digest!r}")
    return f"blobs/sha256/{value}"


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()

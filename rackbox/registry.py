"""Fetches images from a registry by the OCI distribution protocol, and releases over HTTP; nothing unverified is kept.

Entry points: ``Downloads.fetch`` for a file with a known SHA-256, ``fetch_image`` for an image. Downloads are kept by
their checksum, so that what was fetched before is not fetched again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from rackbox.box import sha256_of
from rackbox.errors import LabError, Unavailable
from rackbox.oci import INDEX_TYPE, MANIFEST_TYPE, Blob, write_archive

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((INDEX_TYPE, DOCKER_LIST, MANIFEST_TYPE, DOCKER_MANIFEST))
TIMEOUT_S = (15.0, 60.0)
"""To connect, and between two bytes."""
SMALL = 8 << 20
CHUNK = 1 << 20
RETRIES = 3
NOT_REACHED = "is the network there? another place to fetch from: `--sources FILE`, like packaging/bundle/sources.yaml"


@dataclass(slots=True)
class Downloads:
    """Verified files, called by their SHA-256, in ``directory``."""

    directory: Path
    session: requests.Session

    def path(self, sha256: str) -> Path:
        return self.directory / sha256

    def fetch(self, url: str, sha256: str, headers: Mapping[str, str] | None = None) -> Path:
        """The file at ``url`` if its SHA-256 is that; raises ``LabError`` otherwise and keeps nothing."""
        target = self.path(sha256)
        if target.exists() and sha256_of(target) == sha256:
            return target
        self.directory.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{sha256}.part")
        try:
            digest = hashlib.sha256()
            with get(self.session, url, headers, stream=True) as answer, part.open("wb") as file:
                for chunk in _chunks(answer, url):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise LabError(
                    f"{url}: SHA-256 must be {sha256}; got {digest.hexdigest()}",
                    "nothing of it is kept; try again, and if it stays so, do not trust that source",
                )
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target


def open_session() -> requests.Session:
    """A session that tries again where that may help."""
    session = requests.Session()
    retry = Retry(total=RETRIES, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504), allowed_methods=("GET",))
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def get(
    session: requests.Session, url: str, headers: Mapping[str, str] | None = None, *, stream: bool = False
) -> requests.Response:
    """An answer with status 200; raises ``LabError`` with the URL otherwise."""
    try:
        answer = session.get(url, headers=dict(headers or {}), timeout=TIMEOUT_S, stream=stream)
    except requests.RequestException as error:
        raise LabError(f"{url}: not reached: {_reason(error)}", NOT_REACHED) from error
    if answer.status_code != requests.codes.ok:
        answer.close()
        kind = Unavailable if answer.status_code == 404 else LabError
        raise kind(f"{url}: answered {answer.status_code} {answer.reason}", NOT_REACHED)
    return answer


def get_text(session: requests.Session, url: str) -> str:
    """A small text, such as a file of checksums."""
    with get(session, url, stream=True) as answer:
        content = b"".join(_chunks(answer, url, limit=SMALL))
    return content.decode("utf-8", "replace")


def find_checksum(text: str, name: str, url: str) -> str:
    """The SHA-256 of ``name`` in a published file: a bare checksum, or ``sha256sum``'s lines."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for words in lines:
        if re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
            named = words[1].lstrip("*").rpartition("/")[2] if len(words) > 1 else ""
            if named == name or (not named and len(lines) == 1):
                return words[0].lower()
    raise LabError(f"{url}: must hold the SHA-256 of {name}; got {text[:80]!r}")


@dataclass(frozen=True, slots=True)
class Reference:
    """``host/name:tag``."""

    host: str
    name: str
    tag: str


def parse_reference(text: str) -> Reference:
    host, _, rest = text.partition("/")
    name, _, tag = rest.rpartition(":")
    if not (host and name and tag):
        raise LabError(f"image: must be HOST/NAME:TAG; got {text}")
    return Reference(host, name, tag)


def fetch_image(downloads: Downloads, base: str, reference: str, arch: str, target: Path) -> str:
    """Write the archive of the image that a registry has under that name for ``arch``; returns its digest.

    ``base`` is the registry's URL. Every manifest, config and layer is held against its digest; the bytes stay as they
    are, and so does the digest.
    """
    named = parse_reference(reference)
    api = f"{base.rstrip('/')}/v2/{named.name}"
    token = _authorize(downloads.session, f"{api}/manifests/{named.tag}")
    content, media_type = _manifest(downloads.session, f"{api}/manifests/{named.tag}", "", token)
    document = _parse(content, api)
    if media_type in (INDEX_TYPE, DOCKER_LIST) or "manifests" in document:
        digest = _choose(document.get("manifests"), arch, reference)
        content, media_type = _manifest(downloads.session, f"{api}/manifests/{digest}", digest, token)
        document = _parse(content, api)
    try:
        config = _blob(downloads, api, document["config"], token)
        layers = [_blob(downloads, api, layer, token) for layer in document["layers"]]
        made = json.loads(config.file.read_bytes())
        if made["architecture"] != arch:
            raise LabError(f"{reference}: architecture: must be {arch}; got {made['architecture']}")
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{reference}: not an image manifest: {error!r}") from error
    media_type = str(document.get("mediaType") or media_type)
    return write_archive(target, reference, content, config.file.read_bytes(), layers, arch, media_type)


def _blob(downloads: Downloads, api: str, described: Mapping[str, Any], token: Mapping[str, str]) -> Blob:
    digest = str(described["digest"])
    sha256 = _sha256_in(digest, api)
    file = downloads.fetch(f"{api}/blobs/{digest}", sha256, token)
    if file.stat().st_size != described["size"]:
        raise LabError(f"{api}/blobs/{digest}: must be {described['size']} bytes; got {file.stat().st_size}")
    return Blob(str(described["mediaType"]), digest, int(described["size"]), file, digest)


def _manifest(session: requests.Session, url: str, digest: str, token: Mapping[str, str]) -> tuple[bytes, str]:
    """The bytes and the media type; held against ``digest``, or else against the one that the registry says."""
    with get(session, url, {"Accept": ACCEPT, **token}, stream=True) as answer:
        content = b"".join(_chunks(answer, url, limit=SMALL))
        wanted = digest or answer.headers.get("Docker-Content-Digest", "")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
    found = hashlib.sha256(content).hexdigest()
    if wanted and found != _sha256_in(wanted, url):
        raise LabError(f"{url}: digest must be {wanted}; got sha256:{found}", "do not trust that registry")
    return content, media_type


def _authorize(session: requests.Session, url: str) -> dict[str, str]:
    """Headers for reading: none, or an anonymous token where the registry asks for one (distribution spec, token)."""
    try:
        answer = session.get(url, headers={"Accept": ACCEPT}, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise LabError(f"{url}: not reached: {_reason(error)}", NOT_REACHED) from error
    challenge = answer.headers.get("WWW-Authenticate", "")
    if answer.status_code != requests.codes.unauthorized or not challenge.lower().startswith("bearer "):
        return {}
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = fields.pop("realm", "")
    try:
        given = session.get(realm, params=fields, timeout=TIMEOUT_S)
        document = given.json()
        return {"Authorization": f"Bearer {document.get('token') or document['access_token']}"}
    except (requests.RequestException, ValueError, KeyError) as error:
        raise LabError(f"{url}: asks for a token, and {realm or 'nobody'} gives none", NOT_REACHED) from error


def _choose(manifests: object, arch: str, reference: str) -> str:
    """The digest of the image for Linux on ``arch`` in an index."""
    listed: Sequence[Any] = manifests if isinstance(manifests, list) else []
    for item in listed:
        platform = item.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", arch):
            return str(item["digest"])
    raise LabError(f"{reference}: the registry has it not for linux/{arch}")


def _parse(content: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise LabError(f"{where}: the manifest is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise LabError(f"{where}: the manifest must be an object")
    return document


def _sha256_in(digest: str, where: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise LabError(f"{where}: digest must be sha256: and 64 hex digits; got {digest!r}")
    return digest.removeprefix("sha256:")


def _chunks(answer: requests.Response, url: str, limit: int = 0) -> Iterator[bytes]:
    read = 0
    try:
        for chunk in answer.iter_content(CHUNK):
            read += len(chunk)
            if limit and read > limit:
                raise LabError(f"{url}: must be at most {limit} bytes")
            yield chunk
    except requests.RequestException as error:
        raise LabError(f"{url}: broke off after {read} bytes: {_reason(error)}", NOT_REACHED) from error


def _reason(error: BaseException) -> str:
    """The innermost words: requests wraps urllib3's wrap of the operating system's."""
    match = re.search(r"(Name or service not known|Connection refused|timed out|certificate verify failed)", str(error))
    return match[1] if match else type(error).__name__

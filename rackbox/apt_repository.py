"""An APT repository that is read without apt: its index held against a signature, its packages against the index.

Entry points: ``open_repository`` and ``Repository.find``; ``extract`` takes one file out of a package. The repository
is a flat one (sources.list(5)), as the Kubernetes project's is: ``InRelease``, ``Packages`` and the key side by side.
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rackbox.errors import LabError
from rackbox.registry import Downloads, get_text
from rackbox.run import run

KEY = "Release.key"
GPGV_TIMEOUT = 30.0
EXTRACT_TIMEOUT = 120.0
_NOT_TRUSTED = "nothing of it is used; if it stays so, do not trust that source"


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the index: its file's URL and SHA-256."""

    name: str
    version: str
    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Repository:
    base: str
    stanzas: tuple[Mapping[str, str], ...]

    def find(self, name: str, release: str, arch: str) -> Package:
        """The newest package of that name whose upstream version is ``release``. Raises ``LabError``."""
        found = [
            stanza
            for stanza in self.stanzas
            if stanza.get("Package") == name
            and stanza.get("Architecture") in (arch, "all")
            and stanza.get("Version", "").rpartition("-")[0] == release
        ]
        if not found:
            there = sorted({stanza.get("Version", "") for stanza in self.stanzas if stanza.get("Package") == name})
            listed = ", ".join(there) or "none"
            raise LabError(f"{self.base}: {name}: must have version {release} for {arch}; there: {listed}")
        best = max(found, key=lambda stanza: _revision(stanza["Version"]))
        return Package(name, best["Version"], f"{self.base}/{best['Filename'].removeprefix('./')}", best["SHA256"])


def open_repository(downloads: Downloads, base: str, fingerprint: str) -> Repository:
    """The repository at ``base``, if ``fingerprint`` (40 hex digits, of the primary key) has signed its index."""
    signed = get_text(downloads.session, f"{base}/InRelease")
    key = get_text(downloads.session, f"{base}/{KEY}")
    release = verify(signed, key, fingerprint, f"{base}/InRelease")
    index = downloads.fetch(f"{base}/Packages", _index_checksum(release, f"{base}/InRelease"))
    return Repository(base, tuple(parse_stanzas(index.read_text(encoding="utf-8"))))


def verify(signed: str, key: str, fingerprint: str, where: str) -> str:
    """What is signed in a clear-signed text; gpgv decides. Raises ``LabError`` unless the one key of ``key`` with that
    fingerprint has signed it."""
    with tempfile.TemporaryDirectory() as directory:
        ring, text, plain = (Path(directory, name) for name in ("key.gpg", "InRelease", "Release"))
        ring.write_bytes(dearmor(key, where))
        text.write_text(signed, encoding="utf-8")
        argv = ["gpgv", "--status-fd=1", f"--keyring={ring}", f"--output={plain}", str(text)]
        done = run(argv, timeout=GPGV_TIMEOUT, check=False)
        # doc/DETAILS of GnuPG: the last field of VALIDSIG is the primary key's fingerprint
        valid = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("[GNUPG:] VALIDSIG ")]
        if not done.ok or fingerprint not in valid:
            by = ", ".join(valid) or (done.stderr.strip().splitlines() or ["no signature"])[-1]
            raise LabError(f"{where}: must be signed by {fingerprint}; got {by}", _NOT_TRUSTED)
        return plain.read_text(encoding="utf-8")


def dearmor(text: str, where: str) -> bytes:
    """A key in ASCII armour (RFC 9580, 6.2) as the bytes that gpgv reads."""
    found = re.search(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:.+\n)*?\n(.*?)\n(?:=.{4}\n)?-----END", text, re.DOTALL)
    try:
        return base64.b64decode(found[1] if found else "", validate=False) or _no_key(where)
    except binascii.Error:
        return _no_key(where)


def _no_key(where: str) -> bytes:
    raise LabError(f"{where.rpartition('/')[0]}/{KEY}: must be a public key in ASCII armour", _NOT_TRUSTED)


def parse_stanzas(text: str) -> Iterator[Mapping[str, str]]:
    """The stanzas of a control file (deb-control(5)), each as its single-line fields."""
    for block in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*)$", block, re.MULTILINE))
        if fields:
            yield fields


def extract(package: Path, member: str, target: Path, url: str) -> None:
    """Write the file ``member`` (without a slash in front) of a .deb to ``target``, executable."""
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        done = run(["dpkg-deb", "--extract", str(package), directory], timeout=EXTRACT_TIMEOUT, check=False)
        found = Path(directory, member)
        if not done.ok or found.is_symlink() or not found.is_file():
            why = done.stderr.strip().splitlines() or ["not there"]
            raise LabError(f"{url}: must be a package with /{member}: {why[-1]}")
        found.replace(target)
    target.chmod(0o755)


def _index_checksum(release: str, where: str) -> str:
    for digest, name in re.findall(r"^ ([0-9a-f]{64}) +\d+ (\S+)$", release, re.MULTILINE):
        if name.removeprefix("./") == "Packages":
            return str(digest)
    raise LabError(f"{where}: must hold the SHA-256 of Packages")


def _revision(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.rpartition("-")[2]))

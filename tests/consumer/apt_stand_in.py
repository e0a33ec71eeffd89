"""A flat APT repository on loopback, made with the tools that real ones are made with: dpkg-deb, dpkg-scanpackages and
GnuPG, with a key of the test's own."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rackbox.bundle_pins import Pins
from rackbox.bundle_upstream import PACKAGED

ARCH = "amd64"


@dataclass(frozen=True, slots=True)
class Signer:
    """A key in a GnuPG home of its own."""

    home: Path
    fingerprint: str

    def gpg(self, *words: str) -> str:
        argv = ["gpg", "--batch", "--yes", "--pinentry-mode=loopback", "--passphrase=", *words]
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sign(self, repository: Path) -> None:
        """Index what is there, and sign the index."""
        index = subprocess.run(
            ["dpkg-scanpackages", "--multiversion", "."], capture_output=True, check=True, timeout=60, cwd=repository
        ).stdout
        (repository / "Packages").write_bytes(index)
        (repository / "Packages.gz").write_bytes(gzip.compress(index))
        lines = ["Origin: stand-in", "Date: Sun, 22 Nov 2026 00:00:00 UTC", "SHA256:"]
        for name in ("Packages", "Packages.gz"):
            data = (repository / name).read_bytes()
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data):>16} {name}")
        (repository / "Release").write_text("\n".join(lines) + "\n")
        self.gpg("--clearsign", "--output", str(repository / "InRelease"), str(repository / "Release"))
        (repository / "Release.key").write_text(self.gpg("--armor", "--export", self.fingerprint))


@contextmanager
def signing(home: Path, name: str) -> Iterator[Signer]:
    """A new key; GnuPG's agent, which holds it, ends with the block."""
    home.mkdir(mode=0o700)
    unnamed = Signer(home, "")
    try:
        unnamed.gpg("--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", "never")
        listed = unnamed.gpg("--list-keys", "--with-colons").splitlines()
        yield Signer(home, next(line.split(":")[9] for line in listed if line.startswith("fpr:")))
    finally:
        argv = ["gpgconf", "--homedir", str(home), "--kill", "all"]
        subprocess.run(argv, capture_output=True, timeout=30, check=False)


def make_package(repository: Path, name: str, version: str, programs: dict[str, bytes]) -> Path:
    """A .deb with those files in /usr/bin, where the Kubernetes project's repository has it."""
    tree = repository.with_name(f"{name}-{version}")
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {ARCH}\nMaintainer: nobody <nobody@example.org>\n"
    (tree / "DEBIAN/control").write_text(f"{control}Description: {name}\n for tests\n")
    for program, content in programs.items():
        file = tree / "usr/bin" / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o755)
    target = repository / ARCH / f"{name}_{version}_{ARCH}.deb"
    target.parent.mkdir(parents=True, exist_ok=True)
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(target)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return target


def make_repository(directory: Path, pins: Pins, signer: Signer) -> None:
    """What a bundle of ``pins`` takes from the project's packages, and older ones beside it."""
    versions = {**pins.components, **pins.only_upstream}
    for name, component in PACKAGED.items():
        program = "crictl" if name == "cri-tools" else name
        release = versions[component]
        for version in (f"{release}-1.1", f"{release}-1.2", "0.1.0-1.1"):
            if not (directory / ARCH / f"{name}_{version}_{ARCH}.deb").exists():
                make_package(directory, name, version, {program: f"{name} {version}".encode()})
    signer.sign(directory)

"""The Kubernetes project's packages, from a repository on loopback, made by Debian's own tools and signed by GnuPG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rackbox.apt_repository import extract, open_repository
from rackbox.bundle_pins import Pins, load_pins
from rackbox.errors import LabError
from rackbox.registry import Downloads, open_session
from tests.consumer.apt_stand_in import Signer, make_package, make_repository, signing
from tests.consumer.stand_ins import ARCH, serving


@pytest.fixture
def pins() -> Pins:
    return load_pins("1.36")


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[Signer]:
    with signing(tmp_path / "gnupg", "repository") as signer:
        yield signer


@pytest.fixture
def packages(pins: Pins, signer: Signer, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The repository's directory and URL."""
    directory = tmp_path / "deb"
    make_repository(directory, pins, signer)
    with serving(directory) as url:
        yield directory, url


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    return Downloads(tmp_path / "cache", open_session())


def test_the_newest_revision_of_just_that_release(
    packages: tuple[Path, str], signer: Signer, pins: Pins, downloads: Downloads, tmp_path: Path
) -> None:
    repository = open_repository(downloads, packages[1], signer.fingerprint)
    found = repository.find("kubelet", pins.kubernetes, ARCH)
    assert found.version == f"{pins.kubernetes}-1.2"
    extract(downloads.fetch(found.url, found.sha256), "usr/bin/kubelet", tmp_path / "kubelet", found.url)
    assert (tmp_path / "kubelet").read_text() == f"kubelet {pins.kubernetes}-1.2"
    assert (tmp_path / "kubelet").stat().st_mode & 0o777 == 0o755
    with pytest.raises(LabError, match=rf"kubelet: must have version 1\.99\.0 .* there: .*{pins.kubernetes}-1\.1"):
        repository.find("kubelet", "1.99.0", ARCH)
    with pytest.raises(LabError, match="must be a package with /usr/bin/kubectl: not there"):
        extract(downloads.fetch(found.url, found.sha256), "usr/bin/kubectl", tmp_path / "kubectl", found.url)


def test_an_index_that_somebody_else_signed_is_refused(
    packages: tuple[Path, str], signer: Signer, downloads: Downloads, tmp_path: Path
) -> None:
    with signing(tmp_path / "other", "other") as other:
        other.sign(packages[0])
    with pytest.raises(LabError, match=f"InRelease: must be signed by {signer.fingerprint}; got {other.fingerprint}"):
        open_repository(downloads, packages[1], signer.fingerprint)


def test_an_index_that_was_changed_is_refused(packages: tuple[Path, str], signer: Signer, downloads: Downloads) -> None:
    signed = packages[0] / "InRelease"
    signed.write_text(signed.read_text().replace("stand-in", "somebody"))
    with pytest.raises(LabError, match=r"must be signed by [0-9A-F]{40}; got .*BAD signature"):
        open_repository(downloads, packages[1], signer.fingerprint)


def test_packages_that_are_not_the_index_s_are_refused(
    packages: tuple[Path, str], signer: Signer, pins: Pins, downloads: Downloads
) -> None:
    directory, url = packages
    (directory / "Packages").write_text((directory / "Packages").read_text() + "\n")
    with pytest.raises(LabError, match="/Packages: SHA-256 must be"):
        open_repository(downloads, url, signer.fingerprint)
    signer.sign(directory)
    make_package(directory, "kubelet", f"{pins.kubernetes}-1.2.evil", {"kubelet": b"evil"}).replace(
        directory / ARCH / f"kubelet_{pins.kubernetes}-1.2_{ARCH}.deb"
    )
    found = open_repository(downloads, url, signer.fingerprint).find("kubelet", pins.kubernetes, ARCH)
    with pytest.raises(LabError, match=r"kubelet_.*\.deb: SHA-256 must be"):
        downloads.fetch(found.url, found.sha256)


def test_a_repository_without_a_key_or_a_signature_is_refused(
    packages: tuple[Path, str], signer: Signer, downloads: Downloads
) -> None:
    directory, url = packages
    (directory / "Release.key").write_text("no key\n")
    with pytest.raises(LabError, match=r"/Release\.key: must be a public key in ASCII armour"):
        open_repository(downloads, url, signer.fingerprint)
    (directory / "InRelease").unlink()
    with pytest.raises(LabError, match="/InRelease: answered 404"):
        open_repository(downloads, url, signer.fingerprint)

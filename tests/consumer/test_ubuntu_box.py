"""What a box of Ubuntu would be made of, asked by the real recipe (Packer, mmdebstrap, apt's solver) of an archive on
loopback that is laid out and signed as Ubuntu's is. Its packages are empty: what is proven is that the recipe asks for
the right suites and components, and for every package by name, not that Ubuntu has them."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from rackbox.build import ROOTFS, resolve, var_file
from rackbox.errors import LabError
from rackbox.paths import Home
from tests.consumer.apt_stand_in import Signer, signing

SUITES = {"ubuntu-24.04": "noble", "ubuntu-26.04": "resolute"}
ESSENTIAL = "base-files"


def value_of(name: str, text: str) -> list[str]:
    """The strings of a variable in a var file: a list's, or those of all lists of a map."""
    _, _, value = text.partition(f"\n{name} ")
    return re.findall(r'"([^"]+)"', re.split(r"\n\S", value, maxsplit=1)[0])


def asked_for(os_name: str) -> dict[str, list[str]]:
    """Per component the packages that the var files name, as a machine of its own kernel has them. Which of them are in
    which component is made up: each has some."""
    common, own = (ROOTFS / "common.auto.pkrvars.hcl").read_text(), var_file(os_name).read_text()
    roles, kernel, image = (
        value_of("packages", common),
        value_of("kernel_packages", common),
        value_of("kernel_image", own),
    )
    assert "glusterfs-server" in roles
    assert "lvm2" in kernel
    assert image == ["linux-image-virtual"]
    return {"main": [ESSENTIAL, *kernel, *image], "universe": sorted({*roles} - {*kernel})}


def put_index(suite: Path, component: str, names: list[str]) -> None:
    stanzas = [
        f"Package: {name}\nVersion: 1.0-1ubuntu1\nArchitecture: amd64\nMaintainer: nobody <nobody@example.org>\n"
        f"Filename: pool/{component}/{name}_1.0-1ubuntu1_amd64.deb\nSize: 1000\nInstalled-Size: 1\n"
        f"SHA256: {hashlib.sha256(name.encode()).hexdigest()}\nDescription: {name}\n"
        + ("Essential: yes\nPriority: required\n" if name == ESSENTIAL else "Priority: optional\n")
        for name in names
    ]
    index = suite / component / "binary-amd64/Packages"
    index.parent.mkdir(parents=True)
    index.write_text("\n".join(stanzas))
    index.with_suffix(".gz").write_bytes(gzip.compress(index.read_bytes()))


def put_archive(root: Path, codename: str, packages: dict[str, list[str]], signer: Signer) -> None:
    """The suite with ``packages``, and its updates and security updates with none."""
    for suite in (codename, f"{codename}-updates", f"{codename}-security"):
        directory = root / "dists" / suite
        lines = ["Origin: Ubuntu", "Label: Ubuntu", f"Suite: {suite}", f"Codename: {codename}"]
        lines += ["Date: Sun, 22 Nov 2026 00:00:00 UTC", "Architectures: amd64", "Components: main universe", "SHA256:"]
        for component, names in packages.items():
            put_index(directory, component, names if suite == codename else [])
            for file in (f"{component}/binary-amd64/Packages", f"{component}/binary-amd64/Packages.gz"):
                data = (directory / file).read_bytes()
                lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data):>16} {file}")
        (directory / "Release").write_text("\n".join(lines) + "\n")
        signer.gpg("--clearsign", "--output", str(directory / "InRelease"), str(directory / "Release"))


class _Proxy(SimpleHTTPRequestHandler):
    """Answers for any host, as apt's proxy, from below /ubuntu."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(urlsplit(path).path.removeprefix("/ubuntu"))

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(directory: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Proxy, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[Signer]:
    with signing(tmp_path / "gnupg", "ubuntu") as signer:
        yield signer


@pytest.fixture
def archive(tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory that apt takes for every archive there is, trusting nobody's key but the test's."""
    root, keys, config = tmp_path / "ubuntu", tmp_path / "keys", tmp_path / "apt.conf"
    root.mkdir()
    keys.mkdir()
    (keys / "test.asc").write_text(signer.gpg("--armor", "--export", signer.fingerprint))
    config.write_text(f'Dir::Etc::Trusted "/dev/null";\nDir::Etc::TrustedParts "{keys}";\n')
    monkeypatch.setenv("APT_CONFIG", str(config))
    monkeypatch.delenv("RACKBOX_APT_SOURCES", raising=False)
    with answering(root) as url:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, url)
        monkeypatch.delenv("no_proxy", raising=False)
        yield root


@pytest.fixture
def work(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("os_name", SUITES)
def test_ubuntu_is_asked_for_every_package_by_its_name(
    os_name: str, archive: Path, signer: Signer, work: Path, tmp_path: Path
) -> None:
    codename, packages = SUITES[os_name], asked_for(os_name)
    put_archive(archive, codename, packages, signer)
    found = resolve(Home(tmp_path / "home", tmp_path), os_name, "libvirt", work, Console(file=StringIO()))
    assert sorted(found.packages) == sorted({*packages["main"], *packages["universe"]})
    assert {package.origin for package in found.packages.values()} == {f"Ubuntu:{codename}"}
    suites = [codename, f"{codename}-security", f"{codename}-updates"]
    assert sorted(source["Suite"] for source in found.sources) == suites


def test_a_package_that_ubuntu_does_not_have_is_named(
    archive: Path, signer: Signer, work: Path, tmp_path: Path
) -> None:
    packages = asked_for("ubuntu-26.04")
    packages["universe"].remove("keepalived")
    put_archive(archive, "resolute", packages, signer)
    home = Home(tmp_path / "home", tmp_path)
    with pytest.raises(LabError):
        resolve(home, "ubuntu-26.04", "libvirt", work, Console(file=StringIO()))
    (log,) = home.boxes.glob("*.log")
    assert re.findall(r"Unable to locate package (\S+)", log.read_text()) == ["keepalived"]

"""Stand-ins on loopback for what a bundle is fetched from: a site laid out like the projects' releases, and the CNCF's
registry (distribution), built from its module."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rackbox.bundle_pins import Pins
from rackbox.bundle_upstream import MANIFEST_URLS, RELEASED, Release

ARCH = "amd64"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """The directory over HTTP; the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def publish(site: Path, pins: Pins, manifests: dict[str, bytes]) -> None:
    """Every release that a bundle is made from, small, with the checksums where each project has them."""
    versions = {**pins.components, **pins.only_upstream}
    assets: dict[tuple[str, str], list[dict[str, str]]] = {}
    for release in RELEASED:
        version = versions[release.component]
        file = site / release.url.format(version=version, arch=ARCH)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_content(release, version))
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        if release.checksum == "asset":
            repository = "/".join(release.url.split("/")[1:3])
            listed = assets.setdefault((repository, version), [])
            listed.append({"name": file.name, "digest": f"sha256:{sha256}"})
        elif release.checksum.startswith("/"):
            (file.parent / release.checksum[1:]).write_text(f"{'0' * 64}  other.tar.gz\n{sha256}  {file.name}\n")
        elif release.component == "kubernetes":
            Path(f"{file}{release.checksum}").write_text(sha256)
        else:
            Path(f"{file}{release.checksum}").write_text(f"{sha256}  {file.name}\n")
    for (repository, version), listed in assets.items():
        api = site / f"github_api/repos/{repository}/releases/tags/v{version}"
        api.parent.mkdir(parents=True, exist_ok=True)
        api.write_text(json.dumps({"assets": listed}))
    for name, content in manifests.items():
        component = name.removesuffix(".yaml")
        file = site / MANIFEST_URLS[name].format(version=versions[component], arch=ARCH)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _content(release: Release, version: str) -> bytes:
    if release.programs[0][0] == "":
        return f"{release.url} {version}".encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for member, _ in release.programs:
            content = f"{member} {version}".encode()
            info = tarfile.TarInfo(f"./{member.format(version=version, arch=ARCH)}")
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


@contextmanager
def registry(program: Path, directory: Path) -> Iterator[str]:
    """The registry, with its images below ``directory``; the URL."""
    directory.mkdir(parents=True, exist_ok=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as probe:
        port = probe.server_address[1]
    config = directory / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory / 'images'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (directory / "registry.log").open("w") as log:
        process = subprocess.Popen(
            [str(program), "serve", str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            _wait(f"http://127.0.0.1:{port}/v2/", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the registry has ended"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url}: no answer within {seconds:g} s")

"""The demo's container image, made on this computer from Debian packages: ``ensure_image``.

One image holds the web application's Python and the database server. It is a plain archive as `docker save` writes one
(docker's image spec v1.2), kept under RACKBOX_HOME by a digest of what it is made of.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from io import BytesIO
from pathlib import Path

from rackbox.errors import CommandFailed, LabError
from rackbox.locks import hold_lock
from rackbox.paths import PROJECT, Home
from rackbox.run import run

SOURCES = PROJECT / "demo"
PROGRAMS = ("app.py", "database.sh")
SUITE = "trixie"
PACKAGES = ("mariadb-server-core", "mariadb-client-core", "python3-minimal", "python3-pymysql", "ca-certificates")
NAME = "rackbox.internal/demo"
BUILD_SECONDS = 500.0
EPOCH = 1767225600


def image_reference() -> str:
    """The image's name; another recipe is another name."""
    digest = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode())
    for name in PROGRAMS:
        digest.update((SOURCES / name).read_bytes())
    return f"{NAME}:{digest.hexdigest()[:12]}"


def image_path(home: Home) -> Path:
    return home.data / "images" / f"demo-{image_reference().rsplit(':', 1)[1]}.tar"


def ensure_image(home: Home) -> Path:
    """The image's archive, built if it is not there yet (half a minute, from Debian's archive)."""
    path = image_path(home)
    with hold_lock(path.parent / "demo.lock"):
        if not path.exists():
            _build(path)
    return path


def _build(path: Path) -> None:
    work = path.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        layer = work / "layer.tar"
        argv = ["mmdebstrap", "--variant=minbase", "--format=tar", f"--include={','.join(PACKAGES)}"]
        argv += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
        argv += ["--customize-hook=mkdir $1/demo", f"--customize-hook=copy-in {' '.join(map(str, _programs()))} /demo"]
        argv += [SUITE, str(layer)]
        run(argv, timeout=BUILD_SECONDS, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)})
        _pack(layer, work / "image.tar")
        (work / "image.tar").replace(path)
    except CommandFailed as error:
        raise LabError(
            f"the demo's image cannot be built: {error.message}", "it needs Debian's package archive"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _programs() -> list[Path]:
    return [SOURCES / name for name in PROGRAMS]


def _pack(layer: Path, image: Path) -> None:
    with layer.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    blob = json.dumps(config).encode()
    name = f"{hashlib.sha256(blob).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [image_reference()], "Layers": ["layer.tar"]}]
    with tarfile.open(image, "w") as archive:
        for member, data in ((name, blob), ("manifest.json", json.dumps(manifest).encode())):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
        archive.add(layer, "layer.tar")

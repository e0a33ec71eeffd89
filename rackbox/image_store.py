"""What a containerd has on disk once it has unpacked its images: made once on this computer, and laid out for each new
node of a cluster as hard links, before it boots. A dozen machines would otherwise copy and unpack the same gigabyte at
the same time, while etcd waits for the disk.

Entry point: ``share_images``. Machines whose provider does not show their disks load images by themselves
(``provision/kubernetes/containerd/12-load-images.sh``), and so does everybody where a bundle has no containerd of its
own.

Layers are only read by containers, and blobs by nobody; containerd's two databases are written to, so each machine gets
copies of them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from rackbox.errors import LabError
from rackbox.lab import LiveLab
from rackbox.locks import hold_lock
from rackbox.paths import Home
from rackbox.progress import Steps
from rackbox.release import Image, Release
from rackbox.run import run

FORMAT = 1
"""Another number for every change of what ``_build`` makes."""
VOLUME = "containerd"
BUILD_SECONDS = 240.0
PARTS = ("io.containerd.content.v1.content", "io.containerd.metadata.v1.bolt", "io.containerd.snapshotter.v1.overlayfs")
_CONFIG = """version = 3
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri"]

[grpc]
  address = "/run/containerd.sock"
"""
_APART = (
    "unshare",
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "bash",
    "-euo",
    "pipefail",
    "-c",
)
# A place of its own: what is mounted on the way goes with it, and nobody else's containerd is met.
_SCRIPT = r"""
mount -t tmpfs tmpfs /run
bin=$1 work=$2
shift 2
"$bin/containerd" --config "$work/config.toml" >"$work/log" 2>&1 &
daemon=$!
ask() { "$bin/ctr" --address /run/containerd.sock --namespace k8s.io "$@"; }
for turn in {1..150}; do
  if ask version >/dev/null 2>&1; then break; fi
  sleep 0.1
done
for archive; do
  ask images import "$archive" >/dev/null
done
kill $daemon
wait $daemon || true
"""


def share_images(lab: LiveLab, steps: Steps) -> None:
    """Lay out images for the nodes whose containerd has nothing yet. A store that cannot be made is said, no more:
    machines can do without."""
    release = lab.choice.release if lab.choice else None
    if release is None or not {"containerd", "ctr"} <= release.programs:
        return
    if lab.topology.kubernetes is None or lab.topology.kubernetes.runtime != "containerd":
        return  # Docker keeps images in a way of its own
    waiting: dict[tuple[Image, ...], list[Path]] = {}
    for node in lab.topology.kubernetes_nodes:
        directory = lab.provider.volume_on_host(lab.paths, node, VOLUME)
        if directory is not None and not any(directory.iterdir()):
            waiting.setdefault(release.images_of(node, lab.topology), []).append(directory)
    for images, directories in waiting.items():
        store = store_path(lab.home, release, images)
        try:
            if not store.is_dir():
                with steps.step(f"{len(images)} images unpacked, once for all machines"):
                    _ensure(lab.home, store, release, images)
            for directory in directories:
                lay_out(store, directory)
        except LabError as error:
            steps.console.print(f"each machine unpacks its images: {error.message}", soft_wrap=True)
            return


def store_path(home: Home, release: Release, images: Sequence[Image]) -> Path:
    """Where the images of one role's machines are kept unpacked."""
    facts = [str(FORMAT), release.components.get("containerd", ""), *(f"{i.reference} {i.digest}" for i in images)]
    return home.data / "images" / f"{release.name}-{hashlib.sha256(chr(10).join(facts).encode()).hexdigest()[:12]}"


def lay_out(store: Path, directory: Path) -> None:
    """Give a machine what is in ``store``; ``directory`` must be empty, and is so until all of it is there. Raises
    ``CommandFailed`` where the two are on different file systems."""
    part = directory.with_name(f"{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        run(["cp", "--archive", "--link", str(store), str(part)], timeout=60)
        for database in part.glob("*/*.db"):
            own = database.with_suffix(".own")
            shutil.copy2(database, own)
            own.replace(database)
        part.replace(directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _ensure(home: Home, store: Path, release: Release, images: Sequence[Image]) -> None:
    with hold_lock(store.parent / "stores.lock"):
        if store.is_dir():
            return
        _remove_old(home, store.parent)
        work = store.with_name(f"{store.name}.work")
        shutil.rmtree(work, ignore_errors=True)
        root = work / "root"
        root.mkdir(parents=True)
        try:
            _build(work, root, release, images)
            for path in root.iterdir():
                if path.name not in PARTS:
                    shutil.rmtree(path)
            root.replace(store)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _build(work: Path, root: Path, release: Release, images: Sequence[Image]) -> None:
    (work / "config.toml").write_text(_CONFIG.format(root=root))
    archives = [str(release.directory / image.path) for image in images]
    run([*_APART, _SCRIPT, "store", str(release.directory / "bin"), str(work), *archives], timeout=BUILD_SECONDS)


def _remove_old(home: Home, directory: Path) -> None:
    """Those of bundles that are gone; what machines have of them stays theirs."""
    bundles = {path.name for path in home.bundles.glob("*/")}
    for store in directory.glob("*/"):
        if (store / PARTS[0]).is_dir() and store.name.rpartition("-")[0] not in bundles:
            shutil.rmtree(store, ignore_errors=True)

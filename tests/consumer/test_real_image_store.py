"""Images unpacked by a bundle's own containerd, and taken up by another one from what was laid out for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rackbox.bundle import list_bundles
from rackbox.image_store import _APART, _CONFIG, _ensure, lay_out, store_path
from rackbox.paths import Home, find_home
from rackbox.release import Image, Release, read_release
from rackbox.run import run

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]
NAMES = ("pause", "coredns")
# Another containerd on what a machine was given: the images are there and whole, and one can be mounted and read.
LOOK = """
mount -t tmpfs tmpfs /run
"$1/containerd" --config "$2" >/dev/null 2>&1 &
daemon=$!
ask() { "$1/ctr" --address /run/containerd.sock --namespace k8s.io "${@:2}"; }
for turn in {1..150}; do ask "$1" version >/dev/null 2>&1 && break; sleep 0.1; done
ask "$1" images check --quiet
mkdir /run/looked
ask "$1" images mount "$3" /run/looked >/dev/null
/run/looked/coredns -version
umount /run/looked
kill $daemon
wait $daemon || true
"""


@pytest.fixture
def release() -> Release:
    if os.geteuid() != 0:
        # overlayfs is mounted on the way, and only root may.
        pytest.skip("unpacking images needs root")
    kept = list_bundles(find_home(os.environ, Path.home(), os.getuid()))
    found = [release for release in (read_release(bundle.root) for bundle in kept) if "containerd" in release.programs]
    if not found:
        # A bundle takes a quarter of an hour to build: whoever asks for these tests makes one first.
        pytest.skip("no bundle with a containerd in the catalogue: `./lab bundle` makes one")
    return found[-1]


def pick(release: Release) -> tuple[Image, ...]:
    return tuple(image for image in release.images if image.name in NAMES)


def test_another_containerd_finds_the_images_whole(release: Release, tmp_path: Path) -> None:
    home, images = Home(tmp_path, tmp_path), pick(release)
    store = store_path(home, release, images)
    store.parent.mkdir(parents=True)
    _ensure(home, store, release, images)
    assert not [path for path in store.parent.iterdir() if path.suffix == ".work"]
    machine = tmp_path / "machine"
    machine.mkdir()
    lay_out(store, machine)
    config = tmp_path / "config.toml"
    config.write_text(_CONFIG.format(root=machine))
    coredns = next(image.reference for image in images if image.name == "coredns")
    said = run([*_APART, LOOK, "look", str(release.directory / "bin"), str(config), coredns], timeout=60).stdout
    for image in images:
        assert image.reference in said
    assert "CoreDNS-" in said

"""Bundles fetched from stand-ins of what publishes their parts, whole and tampered with."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from rackbox import bundle_components, bundle_debian, golang, package_source
from rackbox.bundle import read_bundle, runtimes_of
from rackbox.bundle_check import check_bundle
from rackbox.bundle_pins import Pins, load_pins
from rackbox.bundle_recipe import DOCKER_PROGRAMS, IMAGES, reference_of
from rackbox.bundle_upstream import PUBLISHED, build_from_upstream, load_sources
from rackbox.errors import CommandFailed, LabError
from rackbox.oci import Entry, ImageConfig, write_image, write_layer
from rackbox.package_source import can_fetch, fetch_packages
from rackbox.paths import Home
from rackbox.release import choose_release
from rackbox.run import Result
from rackbox.tools import Check
from tests.bundling import ENGINE, write_tree
from tests.consumer.apt_stand_in import make_repository, signing
from tests.consumer.programs import run
from tests.consumer.stand_ins import ARCH, publish, registry, serving
from tests.rendering import shipped

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]  # Go compiles for minutes, the first time


@pytest.fixture
def pins() -> Pins:
    made = load_pins("1.36")
    manifests = manifests_for(made)
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in manifests.items()}
    return dataclasses.replace(made, checksums=checksums)


def manifests_for(pins: Pins) -> dict[str, bytes]:
    def text(*names: str) -> bytes:
        return "".join(f"image: {reference_of(i, pins.components)}\n" for i in IMAGES if i.name in names).encode()

    return {
        "flannel.yaml": text("flannel", "flannel-cni-plugin"),
        "metallb.yaml": text("metallb-controller", "metallb-speaker"),
    }


@pytest.fixture
def upstream(pins: Pins, tools: Path, tmp_path: Path) -> Iterator[tuple[Path, Path, Path]]:
    """The release site's directory, the registry's, and a file of sources that names both."""
    site, images = tmp_path / "site", tmp_path / "registry"
    publish(site, pins, manifests_for(pins))
    with serving(site) as releases, registry(tools / "registry", images) as url:
        host = url.removeprefix("http://")
        for image in PUBLISHED:
            reference = reference_of(image, pins.components)
            layout = tmp_path / f"push-{image.name}"
            layout.mkdir()
            layer = write_layer(layout / "layer.tar", [Entry(image.inside, reference.encode())], 0)
            write_image(layout / "image.tar", reference, [layer], ImageConfig((image.inside,), ARCH, 0))
            named = f"{host}/{reference.partition('/')[2]}"
            run([str(tools / "crane"), "push", "--insecure", str(layout / "image.tar"), named])
            shutil.rmtree(layout)
        hosts = ("registry.k8s.io", "ghcr.io", "quay.io", "docker.io")
        sites = ("kubernetes", "github", "github_api", "github_raw")
        sources = tmp_path / "sources.yaml"
        sources.write_text(
            yaml.safe_dump(
                {
                    "releases": {name: f"{releases}/{name}" for name in sites},
                    "registries": dict.fromkeys(hosts, url),
                }
            )
        )
        yield site, images, sources


VOLUMES = {"gluster-csi", "csi-provisioner", "csi-resizer"}
"""The driver, built here for nobody publishes it, and what its project's images bring beside it."""


def fetch(home: Home, pins: Pins, sources: Path, *, docker: bool = False) -> Path:
    return build_from_upstream(home, pins, ARCH, load_sources(sources), Console(quiet=True), docker=docker).root


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packages of Docker Engine, as mmdebstrap leaves them."""

    def mmdebstrap(argv: Sequence[str], **_: object) -> Result:
        write_tree(Path(argv[-1]), {program.source: program.name for program in DOCKER_PROGRAMS})
        return Result(tuple(argv), 0, "", "", 0.1)

    monkeypatch.setattr(bundle_debian, "run", mmdebstrap)


def test_a_bundle_from_upstream(upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path) -> None:
    """Against stand-ins: a whole bundle, with what no module brings, and the images as the registry has them."""
    _, _, sources = upstream
    home = Home(tmp_path / "home", tmp_path / "run")
    bundle = read_bundle(fetch(home, pins, sources))
    check_bundle(bundle, arch=ARCH, stacked_etcd=True)
    assert bundle.source == "upstream"
    assert {"crictl", "traefik", *VOLUMES} <= {*bundle.components}
    assert runtimes_of(bundle.components) == ("containerd",)
    assert not {"docker", "cri-dockerd"} & {*bundle.components}
    kubeadm = next(file for file in bundle.files if file.path == "bin/kubeadm")
    assert (bundle.root / kubeadm.path).read_text().endswith("1.36.3")
    flannel = bundle.root / "cni/flannel"  # out of an image, by its digest
    assert flannel.read_text() == "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel1"
    assert flannel.stat().st_mode & 0o777 == 0o755
    assert leftovers(home) == [bundle.version]


def test_a_bundle_from_upstream_with_docker(
    upstream: tuple[Path, Path, Path], pins: Pins, debian: None, tmp_path: Path
) -> None:
    """Beside the one without: cri-dockerd as its project publishes it, the engine as Debian does."""
    _, _, sources = upstream
    home = Home(tmp_path / "home", tmp_path / "run")
    plain, bundle = (read_bundle(fetch(home, pins, sources, docker=docker)) for docker in (False, True))
    check_bundle(bundle, arch=ARCH, stacked_etcd=True)
    assert runtimes_of(bundle.components) == ("containerd", "docker")
    assert (bundle.components["cri-dockerd"], bundle.components["docker"]) == (pins.components["cri-dockerd"], ENGINE)
    added = {file.path for file in bundle.files} - {file.path for file in plain.files}
    assert added == {"bin/cri-dockerd", "bin/docker", "bin/docker-init", "bin/dockerd"}
    assert sorted(leftovers(home)) == sorted((plain.version, bundle.version))


def test_a_bundle_with_kubernetes_from_its_packages(
    upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `up` has it where a lab asks for packages: fetched once, and found from then on."""
    _, _, sources = upstream
    with signing(tmp_path / "gnupg", "repository") as signer:
        make_repository(tmp_path / "deb/v1.36", pins, signer)
    home = Home(tmp_path / "home", tmp_path / "run")
    wished = shipped("kubernetes").kubernetes
    assert wished is not None
    wished = dataclasses.replace(wished, source="packages")
    with serving(tmp_path / "deb") as url:
        document = yaml.safe_load(sources.read_text())
        document["packages"] = {"url": f"{url}/v{{minor}}", "key": signer.fingerprint}
        sources.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("RACKBOX_SOURCES", str(sources))
        monkeypatch.setattr(package_source, "load_pins", lambda _minor: pins)
        assert can_fetch(wished)
        assert choose_release(wished, tmp_path / "lab.yaml", home.bundles).to_fetch
        fetch_packages(home, wished, Console(quiet=True))
    choice = choose_release(wished, tmp_path / "lab.yaml", home.bundles)
    assert choice.release is not None
    assert choice.words.startswith(f"{pins.kubernetes} from bundle")
    bundle = read_bundle(choice.release.directory)
    check_bundle(bundle, arch=ARCH, stacked_etcd=True)
    assert bundle.source == "packages"
    assert (bundle.root / "bin/kubelet").read_text() == f"kubelet {pins.kubernetes}-1.2"
    assert not can_fetch(wished), "nobody is there any more"


def test_a_bundle_from_upstream_on_a_computer_without_go(
    upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is whole but for volumes, and says so."""
    _, _, sources = upstream
    monkeypatch.setattr(
        golang, "check_go", lambda _least: Check("go", False, "not found", "1.25 or newer", fix="get it")
    )
    home, said = Home(tmp_path / "home", tmp_path / "run"), io.StringIO()
    bundle = build_from_upstream(home, pins, ARCH, load_sources(sources), Console(file=said, width=200))
    check_bundle(bundle, arch=ARCH, stacked_etcd=True)
    assert not VOLUMES & {*bundle.components}
    assert (
        "left out: volumes for claims. go: not found; building gluster-csi needs 1.25 or newer. get it"
        in said.getvalue()
    )


def test_a_bundle_from_upstream_where_modules_cannot_be_had(
    upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole but for volumes, too; a module that was tampered with, and any other failure, is none to be passed over."""
    _, _, sources = upstream
    answers = [
        "dial tcp 127.0.0.1:9: connect: connection refused",
        "go: …: verifying module: checksum mismatch [SECURITY ERROR]",
    ]

    def build(*_: object, **__: object) -> None:
        raise CommandFailed(answers.pop(0))

    monkeypatch.setattr(bundle_components, "build_programs", build)
    home, said = Home(tmp_path / "home", tmp_path / "run"), io.StringIO()
    bundle = build_from_upstream(home, pins, ARCH, load_sources(sources), Console(file=said, width=200))
    assert not VOLUMES & {*bundle.components}
    assert "left out: volumes for claims. dial tcp" in said.getvalue()
    with pytest.raises(CommandFailed, match="checksum mismatch"):
        fetch(home, pins, sources)
    assert leftovers(home) == [bundle.version]


def test_a_mirror_without_the_images_beside_the_driver(
    upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path
) -> None:
    """Good for all but volumes: mirrors from before they were asked for have none."""
    _, images, sources = upstream
    shutil.rmtree(next(images.glob("images/docker/registry/v2/repositories/sig-storage/csi-resizer")))
    home, said = Home(tmp_path / "home", tmp_path / "run"), io.StringIO()
    bundle = build_from_upstream(home, pins, ARCH, load_sources(sources), Console(file=said, width=200))
    check_bundle(bundle, arch=ARCH, stacked_etcd=True)
    assert not VOLUMES & {*bundle.components}
    assert not [path for path in (bundle.root / "images").iterdir() if "csi" in path.name]
    assert "/v2/sig-storage/csi-resizer/manifests/" in said.getvalue()


def leftovers(home: Home) -> list[str]:
    return [path.name for path in home.bundles.iterdir() if path.name != ".lock" and path.suffix != ".log"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("kubernetes/v*/bin/linux/*/kubelet", r"/kubelet: SHA-256 must be [0-9a-f]{64}; got [0-9a-f]{64}"),
        ("github/etcd-io/etcd/releases/download/*/etcd-*.gz", r"etcd-v3\.6\.8-linux-amd64\.tar\.gz: SHA-256 must be"),
        ("github/Mirantis/cri-dockerd/releases/download/*/*.tgz", r"cri-dockerd-.*\.tgz: SHA-256 must be"),
        ("github_raw/metallb/metallb/*/config/manifests/*.yaml", r"metallb-native\.yaml: SHA-256 must be"),
    ],
)
def test_a_release_with_a_bad_checksum_is_refused(
    pattern: str, says: str, upstream: tuple[Path, Path, Path], pins: Pins, debian: None, tmp_path: Path
) -> None:
    site, _, sources = upstream
    (file,) = site.glob(pattern)
    file.write_bytes(file.read_bytes() + b"!")
    home = Home(tmp_path / "home", tmp_path / "run")
    with pytest.raises(LabError, match=says):
        fetch(home, pins, sources, docker=True)
    assert leftovers(home) == []
    file.write_bytes(file.read_bytes()[:-1])
    fetch(home, pins, sources, docker=True)  # and what was good is not fetched again
    assert len(leftovers(home)) == 1


def test_a_release_without_a_checksum_is_refused(upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path) -> None:
    site, _, sources = upstream
    (file,) = site.glob("kubernetes/v*/bin/linux/*/kubeadm.sha256")
    file.unlink()
    with pytest.raises(LabError, match=r"kubeadm\.sha256: answered 404"):
        fetch(Home(tmp_path / "home", tmp_path / "run"), pins, sources)


def test_an_image_that_was_tampered_with_is_refused(
    upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path
) -> None:
    """A layer changed behind the registry's back: it serves it, and its digest tells."""
    _, images, sources = upstream
    for link in images.glob("images/docker/registry/v2/repositories/coredns/coredns/_layers/sha256/*/link"):
        blob = link.read_text().strip().partition(":")[2]
        (file,) = images.glob(f"images/docker/registry/v2/blobs/sha256/*/{blob}/data")
        content = bytearray(file.read_bytes())
        if not content.startswith(b"{"):
            content[-1] ^= 1
            file.write_bytes(content)
    home = Home(tmp_path / "home", tmp_path / "run")
    with pytest.raises(LabError, match=r"/v2/coredns/coredns/blobs/sha256:[0-9a-f]{64}: SHA-256 must be"):
        fetch(home, pins, sources)
    assert leftovers(home) == []


def test_an_image_that_is_not_there(upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path) -> None:
    _, images, sources = upstream
    shutil.rmtree(next(images.glob("images/docker/registry/v2/repositories/pause")))
    with pytest.raises(LabError, match=r"/v2/pause/manifests/3\.10\.2: answered 404"):
        fetch(Home(tmp_path / "home", tmp_path / "run"), pins, sources)


def test_nobody_there(pins: Pins, tmp_path: Path) -> None:
    sources = tmp_path / "sources.yaml"
    hosts = dict.fromkeys(("registry.k8s.io", "ghcr.io", "quay.io", "docker.io"), "http://127.0.0.1:9")
    sites = dict.fromkeys(("kubernetes", "github", "github_api", "github_raw"), "http://127.0.0.1:9")
    sources.write_text(yaml.safe_dump({"releases": sites, "registries": hosts}))
    with pytest.raises(LabError, match=r"kubeadm\.sha256: not reached: Connection refused") as caught:
        fetch(Home(tmp_path / "home", tmp_path / "run"), pins, sources)
    assert "--sources" in caught.value.hint

"""A bundle's parts, made for real and given to programs that will read them: Go, a registry, crane."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from rackbox import package_source
from rackbox.bundle import Bundle, find_bundle, read_bundle
from rackbox.bundle_build import stamps_of
from rackbox.bundle_check import check_bundle
from rackbox.bundle_pins import DATA, Pins, load_pins
from rackbox.bundle_recipe import COMPONENTS, IMAGES, reference_of
from rackbox.bundle_upstream import PUBLISHED, build_from_upstream, load_sources
from rackbox.errors import LabError
from rackbox.golang import build_programs, modules_of
from rackbox.oci import Entry, ImageConfig, read_image, write_image, write_layer
from rackbox.package_source import can_fetch, fetch_packages
from rackbox.paths import PROJECT, Home, find_home
from rackbox.registry import Downloads, fetch_image, open_session
from rackbox.release import choose_release
from tests.consumer.apt_stand_in import make_repository, signing
from tests.consumer.stand_ins import ARCH, publish, registry, serving
from tests.rendering import shipped

pytestmark = pytest.mark.kubernetes  # Go compiles for minutes

TOOLS = Path(__file__).parent / "registry"
PAUSE = "registry.k8s.io/pause:3.10.2"


def run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`registry` and `crane`, of the modules in go.mod beside this file."""
    target = tmp_path_factory.mktemp("tools")
    names = ["github.com/distribution/distribution/v3/cmd/registry", "github.com/google/go-containerregistry/cmd/crane"]
    build_programs(TOOLS, names, target, arch="", stamps={}, tags=(), log=target / "log")
    return target


@pytest.fixture(scope="session")
def pause(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pause")
    build_programs(DATA / "modules/own", ["./pause"], target, arch="", stamps={}, tags=(), log=target / "log")
    return target / "pause"


@pytest.fixture(scope="session")
def pause_image(pause: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("image")
    layer = write_layer(directory / "layer.tar", [Entry("/pause", pause)], 0)
    write_image(directory / "pause.tar", PAUSE, [layer], ImageConfig(("/pause",), ARCH, 0))
    return directory / "pause.tar"


def test_the_pause_program_is_static_and_the_same_each_time(pause: Path, tmp_path: Path) -> None:
    elf = pause.read_bytes()
    assert elf[:4] == b"\x7fELF"
    assert b"/lib64/ld-linux" not in elf  # no interpreter: it runs in an empty image
    assert str(PROJECT).encode() not in elf
    assert modules_of([pause]) == ()
    build_programs(DATA / "modules/own", ["./pause"], tmp_path, arch="", stamps={}, tags=(), log=tmp_path / "log")
    assert (tmp_path / "pause").read_bytes() == elf


def test_the_pause_program_reaps_and_ends_politely(pause: Path) -> None:
    """As process 1 of a process namespace: an orphan of it is reaped, and SIGTERM ends it."""
    script = 'sh -c "sleep 0.2 & exec true"; exec "$1"'
    argv = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "sh", "-c", script, "sh", str(pause)]
    outer = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        assert len(children) == 1
        inner = int(children[0])
        assert Path(f"/proc/{inner}/comm").read_text().strip() == "pause"
        assert Path(f"/proc/{inner}/task/{inner}/children").read_text() == "", "an orphan was not reaped"
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(10) == 0
    finally:
        outer.kill()
        outer.wait(10)


def test_the_driver_for_volumes_on_a_file_system_of_its_own() -> None:
    """Its own tests, which mount and bind for real: in Go, for they call what the provisioner and a kubelet would."""
    argv = ["unshare", "--mount", "go", "test", "-count=1", "-v", "-tags=grpcnotrace", "./driver"]
    said = run(argv, cwd=DATA / "modules/gluster-csi", env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": ""})
    assert said.count("--- PASS") >= 6
    assert "--- SKIP" not in said


def test_crane_takes_an_archive_and_pushes_it(pause_image: Path, tools: Path, tmp_path: Path) -> None:
    """What `docker save` writes, by another implementation; the registry takes it, and gives back the same image."""
    run([str(tools / "crane"), "validate", "--tarball", str(pause_image)])
    with registry(tools / "registry", tmp_path / "registry") as url:
        host = url.removeprefix("http://")
        layout = tmp_path / "layout"
        layout.mkdir()
        with tarfile.open(pause_image) as archive:
            archive.extractall(layout, filter="data")
        run([str(tools / "crane"), "push", "--insecure", str(layout), f"{host}/pause:3.10.2"])
        ours = read_image(pause_image).digest
        assert run([str(tools / "crane"), "digest", "--insecure", f"{host}/pause:3.10.2"]).strip() == ours
        downloads = Downloads(tmp_path / "downloads", open_session())
        assert fetch_image(downloads, url, PAUSE, ARCH, tmp_path / "again.tar") == ours
        assert (tmp_path / "again.tar").read_bytes() == pause_image.read_bytes()


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """containerd and ctr as a bundle has them: from their module."""
    component = next(item for item in COMPONENTS if item.name == "containerd")
    target = tmp_path_factory.mktemp("containerd")
    pins = load_pins()
    build_programs(
        pins.modules["containerd"],
        [program.package for program in component.programs if program.name in ("containerd", "ctr")],
        target,
        arch="",
        stamps=stamps_of(component, pins.components["containerd"], ""),
        tags=component.tags,
        log=target / "log",
    )
    return target


CONTAINERD = """
version = 3
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"]
[grpc]
address = "{0}/socket"
"""


@pytest.mark.timeout(900)
def test_containerd_imports_an_archive_under_its_full_name(pause_image: Path, containerd: Path) -> None:
    """As the hooks do it; the manifest's digest is the one that we said, and all of the image is there."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own path is too long for a socket
        place = Path(name)
        (place / "config.toml").write_text(CONTAINERD.format(place))
        with (place / "log").open("w") as log:
            process = subprocess.Popen(
                [str(containerd / "containerd"), "--config", str(place / "config.toml")], stderr=log
            )
        ctr = [str(containerd / "ctr"), "--address", str(place / "socket"), "--namespace", "k8s.io"]
        try:
            end = time.monotonic() + 30
            while subprocess.run([*ctr, "version"], capture_output=True).returncode != 0:
                assert time.monotonic() < end, (place / "log").read_text()
                assert process.poll() is None, (place / "log").read_text()
                time.sleep(0.2)
            run([*ctr, "images", "import", "--local", str(pause_image)])
            listed = run([*ctr, "images", "list"]).splitlines()[1:]
            assert [line.split()[0] for line in listed] == [PAUSE]
            assert listed[0].split()[2] == read_image(pause_image).digest
            assert "complete" in run([*ctr, "images", "check"])
            version = load_pins().components["containerd"]
            assert run([str(containerd / "containerd"), "--version"]).split()[2] == f"v{version}"
        finally:
            process.terminate()
            process.wait(20)


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
        hosts = ("registry.k8s.io", "ghcr.io", "quay.io")
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


def fetch(home: Home, pins: Pins, sources: Path) -> Path:
    return build_from_upstream(home, pins, ARCH, load_sources(sources), Console(quiet=True)).root


def test_a_bundle_from_upstream(upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path) -> None:
    """Against stand-ins: a whole bundle, with what no module brings, and the images as the registry has them."""
    _, _, sources = upstream
    home = Home(tmp_path / "home", tmp_path / "run")
    bundle = read_bundle(fetch(home, pins, sources))
    check_bundle(bundle, arch=ARCH, stacked_etcd=True)
    assert bundle.source == "upstream"
    assert bundle.components["cri-dockerd"] == pins.only_upstream["cri-dockerd"]
    assert "crictl" in bundle.components
    kubeadm = next(file for file in bundle.files if file.path == "bin/kubeadm")
    assert (bundle.root / kubeadm.path).read_text().endswith("1.36.3")
    flannel = bundle.root / "cni/flannel"  # out of an image, by its digest
    assert flannel.read_text() == "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel1"
    assert flannel.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in home.bundles.iterdir() if not path.name.startswith(".lock")] == [bundle.version]


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


def leftovers(home: Home) -> list[str]:
    return [path.name for path in home.bundles.iterdir() if path.name != ".lock"]


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
    pattern: str, says: str, upstream: tuple[Path, Path, Path], pins: Pins, tmp_path: Path
) -> None:
    site, _, sources = upstream
    (file,) = site.glob(pattern)
    file.write_bytes(file.read_bytes() + b"!")
    home = Home(tmp_path / "home", tmp_path / "run")
    with pytest.raises(LabError, match=says):
        fetch(home, pins, sources)
    assert leftovers(home) == []
    file.write_bytes(file.read_bytes()[:-1])
    fetch(home, pins, sources)  # and what was good is not fetched again
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
    hosts = dict.fromkeys(("registry.k8s.io", "ghcr.io", "quay.io"), "http://127.0.0.1:9")
    sites = dict.fromkeys(("kubernetes", "github", "github_api", "github_raw"), "http://127.0.0.1:9")
    sources.write_text(yaml.safe_dump({"releases": sites, "registries": hosts}))
    with pytest.raises(LabError, match=r"kubeadm\.sha256: not reached: Connection refused") as caught:
        fetch(Home(tmp_path / "home", tmp_path / "run"), pins, sources)
    assert "--sources" in caught.value.hint


PROGRAM = [sys.executable, "-m", "rackbox.program", "bundle"]


def test_ctrl_c_leaves_no_half_bundle(tmp_path: Path) -> None:
    """Interrupted while Go compiles: nothing in the catalogue, no directory, no process; and the lock is free."""
    environment = {**os.environ, "RACKBOX_HOME": str(tmp_path / "home"), "PYTHONPATH": str(PROJECT)}
    environment["GOCACHE"] = str(tmp_path / "gocache")  # so that there is something to do
    process = subprocess.Popen(PROGRAM, env=environment, cwd=PROJECT, stderr=subprocess.PIPE, start_new_session=True)
    bundles = tmp_path / "home/bundles"
    try:
        end = time.monotonic() + 60
        while not list(bundles.glob(".build-*")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(2.0)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130, said
    finally:
        process.kill()
        process.wait(10)
    assert [path.name for path in bundles.iterdir() if path.suffix != ".log"] == [".lock"]
    left = [path for path in Path("/proc").glob("[0-9]*/environ") if _mentions(path, str(tmp_path / "gocache"))]
    assert left == []


def _mentions(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:  # it has ended
        return False


# In namespaces of its own: $1 has the plugins, $2 the network's configuration. A pod is joined, reached, and taken away
# again when flanneld's file is gone, as after a reboot.
JOIN = r"""
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkdir /run/netns /run/flannel
ip link set lo up
ip netns add pod
export CNI_PATH=$1 CNI_CONTAINERID=pod1 CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0
cni() { CNI_COMMAND=$1 "$CNI_PATH/flannel" <"$2"; }
cni ADD "$2" | grep -q "flanneld's subnet" && ! ls /var/lib/cni/flannel 2>/dev/null && echo refused
printf '%s\n' FLANNEL_NETWORK=10.244.0.0/16 FLANNEL_SUBNET=10.244.3.1/24 FLANNEL_MTU=1400 FLANNEL_IPMASQ=true \
  >/run/flannel/subnet.env
cni ADD "$2" >/run/result
cat /run/result
ip -n pod -brief address show eth0
ip -n pod route
ip -n pod link show eth0 | grep -o 'mtu 1400'
# nobody listens there: an answer that says so has come over the bridge
(timeout 5 ip netns exec pod bash -c 'exec 3<>/dev/tcp/10.244.3.1/9' 2>&1 || true) | grep -q refused && echo reached
jq --slurpfile result /run/result '.prevResult = $result[0]' "$2" >/run/check.json
cni CHECK /run/check.json && echo checked
rm /run/flannel/subnet.env
cni DEL "$2"
ip -n pod link show eth0 2>/dev/null || echo gone
find /var/lib/cni -type f -name pod1 -o -name '10.244.*'
cni DEL "$2" && echo 'gone still'
"""


def test_the_flannel_plugin_joins_a_pod_and_takes_it_away(tmp_path: Path) -> None:
    """With the real bridge and host-local plugins, as flannel's own manifest asks for it."""
    target = tmp_path / "bin"
    target.mkdir()
    base = "github.com/containernetworking/plugins/plugins"
    for module, packages in (
        ("own", ["./flannel"]),
        ("cni-plugins", [f"{base}/main/bridge", f"{base}/ipam/host-local"]),
    ):
        build_programs(DATA / "modules" / module, packages, target, arch="", stamps={}, tags=(), log=tmp_path / "log")
    delegate = {"hairpinMode": True, "isDefaultGateway": True}
    network = {"cniVersion": "1.0.0", "name": "cbr0", "type": "flannel", "delegate": delegate}
    (tmp_path / "network.json").write_text(json.dumps(network))
    argv = [
        "unshare",
        "--net",
        "--mount",
        "bash",
        "-eu",
        "-c",
        JOIN,
        "bash",
        str(target),
        str(tmp_path / "network.json"),
    ]
    said = run(argv)
    assert '"address": "10.244.3.2/24"' in said
    assert "10.244.3.2/24" in said.partition("eth0@")[2].splitlines()[0]
    assert "default via 10.244.3.1" in said
    assert "10.244.0.0/16 via 10.244.3.1" in said
    lines = said.splitlines()
    words = [line for line in lines if line in ("refused", "mtu 1400", "reached", "checked", "gone", "gone still")]
    assert words == ["refused", "mtu 1400", "reached", "checked", "gone", "gone still"]
    assert lines[-2:] == ["gone", "gone still"], "an address or a pod was kept"


def test_an_image_config_that_docker_would_load(pause_image: Path) -> None:
    with tarfile.open(pause_image) as archive:
        saved = archive.extractfile("manifest.json")
        assert saved is not None
        (entry,) = json.loads(saved.read())
        config = archive.extractfile(entry["Config"])
        assert config is not None
        assert json.loads(config.read())["rootfs"]["type"] == "layers"
        layer = archive.extractfile(entry["Layers"][0])
        assert layer is not None
        with tarfile.open(fileobj=io.BytesIO(layer.read())) as inner:
            assert inner.getnames() == ["pause"]


@pytest.fixture(scope="session")
def built() -> Bundle:
    """The newest bundle that was built here: to build one takes too long for every run."""
    home = find_home(os.environ, Path.home(), os.getuid())
    bundle = find_bundle(home)
    if bundle is None:
        pytest.skip("no bundle in the catalogue: `./lab bundle` makes one")
    return bundle


@pytest.mark.timeout(300)
def test_a_built_bundle_is_what_its_kubeadm_asks_for(built: Bundle) -> None:
    """Whole, static, of its version, and every image under the name that kubeadm itself would pull."""
    check_bundle(built, arch=built.arch, stacked_etcd=True)
    for program, arguments, said in (
        ("kubeadm", ["version", "--output=short"], f"v{built.kubernetes}"),
        ("kubelet", ["--version"], f"Kubernetes v{built.kubernetes}"),
        ("kubectl", ["version", "--client"], f"Client Version: v{built.kubernetes}"),
    ):
        assert said in run([str(built.root / "bin" / program), *arguments]).splitlines()
    for file in built.files:
        with (built.root / file.path).open("rb") as stream:
            head = stream.read(4096)
        assert head[:4] == b"\x7fELF"
        assert b"ld-linux" not in head, f"{file.path} is not static"
    config = f"--kubernetes-version=v{built.kubernetes}"
    wanted = run([str(built.root / "bin/kubeadm"), "config", "images", "list", config]).split()
    repositories = {name.rpartition(":")[0]: name for name in (image.reference for image in built.images)}
    asked = {name for name in wanted if not name.startswith("registry.k8s.io/etcd:")}  # ours may be newer
    assert asked <= set(repositories.values())
    assert "registry.k8s.io/etcd" in repositories


def test_a_built_bundles_bill_of_materials(built: Bundle) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (built.root / "sbom.cdx.json").read_text()
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert problem is None, str(problem)
    purls = {part.get("purl", "") for part in json.loads(text)["components"]}
    assert f"pkg:golang/k8s.io/api@v0.{built.kubernetes.partition('.')[2]}" in purls
    assert any(purl.startswith("pkg:deb/debian/nftables@") for purl in purls)


USERLAND = """
mount --make-rprivate /
mount -t proc proc "$1/proc"
chroot "$1" nft --version
for name in iptables ip6tables iptables-save iptables-restore; do chroot "$1" $name --version; done
chroot "$1" cp /etc/protocols /tmp/copied && cmp "$1/etc/protocols" "$1/tmp/copied" && echo copied
"""


def test_kube_proxys_image_has_a_userland_that_runs(built: Bundle, tmp_path: Path) -> None:
    """Its layers unpacked as a runtime does, and its programs called: every library is there."""
    image = next(image for image in built.images if image.path == "images/kube-proxy.tar")
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    with tarfile.open(built.root / image.path) as archive:
        saved = archive.extractfile("manifest.json")
        assert saved is not None
        for name in json.loads(saved.read())[0]["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                layer.extractall(root, filter="tar")
    said = run(["unshare", "--mount", "bash", "-eu", "-c", USERLAND, "bash", str(root)])
    assert said.count("(nf_tables)") == 4
    assert said.splitlines()[-1] == "copied"
    proxy = run(["chroot", str(root), "/usr/local/bin/kube-proxy", "--version"]).strip()
    assert proxy == f"Kubernetes v{built.kubernetes}"

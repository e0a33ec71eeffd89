"""What goes into a bundle, made for real and given to programs that will read it: Go, a registry, crane, containerd."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import pytest

from rackbox.bundle_components import stamps_of
from rackbox.bundle_pins import DATA, load_pins
from rackbox.bundle_recipe import COMPONENTS
from rackbox.golang import build_programs, modules_of
from rackbox.oci import read_image
from rackbox.paths import PROJECT
from rackbox.registry import Downloads, fetch_image, open_session
from tests.consumer.programs import PAUSE, run
from tests.consumer.stand_ins import ARCH, registry

pytestmark = pytest.mark.kubernetes  # Go compiles for minutes


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
    go = ["env", "CGO_ENABLED=0", "GOFLAGS=", "go", "-C", str(DATA / "modules/gluster-csi")]
    said = run(["unshare", "--mount", *go, "test", "-count=1", "-v", "-tags=grpcnotrace", "./driver"])
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

"""Bundles as a build leaves them: one that was broken off, and the newest one that is here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from rackbox.bundle import Bundle, find_bundle
from rackbox.bundle_check import check_bundle
from rackbox.paths import PROJECT, find_home
from tests.consumer.programs import run

pytestmark = pytest.mark.kubernetes  # Go compiles for minutes

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

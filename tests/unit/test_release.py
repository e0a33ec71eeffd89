"""Which Kubernetes a lab gets, why, and what is no bundle at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rackbox.config import load_config
from rackbox.errors import EXIT_COULD_NOT_RUN, ConfigError, LabError, MissingTool
from rackbox.kubernetes_preflight import check_files, check_room, needed_memory
from rackbox.load import settle_kubernetes
from rackbox.paths import PROJECT
from rackbox.planner import plan_topology
from rackbox.release import INGRESS_IMAGES, STORAGE_IMAGES, Choice, choose_release
from rackbox.state import LabState
from rackbox.topology import Kubernetes, Topology
from tests.bundles import make_bundle, make_release
from tests.rendering import shipped

LAB = PROJECT / "config" / "kubernetes.yaml"


def wished(**changes: object) -> Kubernetes:
    kubernetes = shipped("kubernetes").kubernetes
    assert kubernetes is not None
    return replace(kubernetes, **changes)  # type: ignore[arg-type]


def chosen(bundles: Path, booted: str = "", **changes: object) -> Choice:
    return choose_release(wished(**changes), LAB, bundles, booted)


def test_auto_without_a_bundle_is_none_and_says_why(tmp_path: Path) -> None:
    choice = chosen(tmp_path)
    assert choice.release is None
    assert choice.words.startswith(f"none: no bundle in {tmp_path}, and packages")
    assert "./lab bundle" in choice.words


def test_auto_takes_the_newest_bundle(tmp_path: Path) -> None:
    for version in ("1.36.3", "1.9.9", "1.35.4"):
        make_bundle(tmp_path / version, version)
    choice = chosen(tmp_path)
    assert choice.release is not None
    assert (choice.release.kubernetes, choice.release.minor) == ("1.36.3", "1.36")
    assert "source: auto" in choice.words


def test_the_newest_is_the_one_that_was_made_last(tmp_path: Path) -> None:
    """Whatever its files say: those out of an archive are of 1970."""
    make_bundle(tmp_path / "new", built="2026-01-03T00:00:00+00:00")
    os.utime(tmp_path / "new/manifest.json", (0, 0))
    make_bundle(tmp_path / "old")
    choice = chosen(tmp_path)
    assert choice.release is not None
    assert choice.release.name == "new"


def test_what_is_on_its_way_out_or_of_another_computer_is_not_taken(tmp_path: Path) -> None:
    make_bundle(tmp_path / ".build-old-one")
    far = make_bundle(tmp_path / "far", arch="s390x")
    assert chosen(tmp_path).source == "none"
    with pytest.raises(LabError, match=r"must be for \w+, as this computer is; got s390x"):
        chosen(tmp_path, bundle=str(far))


@pytest.mark.parametrize(
    ("version", "found"), [("1.35", "1.35.4"), ("1.35.4", "1.35.4"), ("1.3", None), ("1.34", None)]
)
def test_a_version_is_taken_at_its_word(version: str, found: str | None, tmp_path: Path) -> None:
    for release in ("1.36.3", "1.35.4"):
        make_bundle(tmp_path / release, release)
    choice = chosen(tmp_path, version=version)
    assert (choice.release.kubernetes if choice.release else None) == found


def test_a_bundle_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="source: bundle: no bundle in") as caught:
        chosen(tmp_path, source="bundle")
    assert caught.value.exit_code == EXIT_COULD_NOT_RUN
    with pytest.raises(LabError, match="is no Kubernetes bundle"):
        chosen(tmp_path, bundle=str(tmp_path))


def test_packages_are_packages_and_nothing_else(tmp_path: Path) -> None:
    """A bundle that was built does not pass for them; until they are fetched, it is said who will."""
    make_bundle(tmp_path / "built")
    choice = chosen(tmp_path, source="packages")
    assert (choice.source, choice.release, choice.to_fetch) == ("packages", None, True)
    assert "`./lab up` fetches them" in choice.words
    make_bundle(tmp_path / "fetched", **{"from": "packages"})
    choice = chosen(tmp_path, source="packages")
    assert choice.release is not None
    assert choice.release.directory.name == "fetched"
    assert not choice.to_fetch


def test_auto_without_a_bundle_takes_packages_that_can_be_reached(tmp_path: Path) -> None:
    kubernetes = wished()
    choice = choose_release(kubernetes, LAB, tmp_path, reachable=lambda: True)
    assert choice.to_fetch
    assert "packages can be reached" in choice.words
    make_bundle(tmp_path / "built")
    choice = choose_release(kubernetes, LAB, tmp_path, reachable=lambda: pytest.fail("nobody need ask"))
    assert choice.release is not None


DOCKER = {"kubernetes": "1.36.3", "docker": "26.1.5+dfsg1-9", "cri-dockerd": "0.4.3"}


def test_docker_comes_from_the_newest_bundle_that_has_it(tmp_path: Path) -> None:
    """Though a newer one has none; who does not ask for it takes the newest of all."""
    make_bundle(tmp_path / "engine", components=DOCKER)
    make_bundle(tmp_path / "newer", built="2026-02-01T00:00:00+00:00")
    for source in ("auto", "bundle"):
        choice = chosen(tmp_path, source=source, runtime="docker")
        assert choice.release is not None
        assert choice.release.name == "engine"
        assert choice.words.endswith("the newest with docker; pods by Docker 26.1.5 through cri-dockerd 0.4.3")
    choice = chosen(tmp_path)
    assert choice.release is not None
    assert choice.release.name == "newer"
    assert choice.runtime == ""


@pytest.mark.parametrize("how", ["auto", "bundle", "named", "booted", "packages"])
def test_docker_with_a_bundle_that_has_none_is_refused_where_it_is_asked_for(how: str, tmp_path: Path) -> None:
    """An engine without cri-dockerd is none."""
    components = {name: version for name, version in DOCKER.items() if name != "cri-dockerd"}
    bundle = str(make_bundle(tmp_path / "bundles/plain", components=components))
    lab = tmp_path / "lab.yaml"
    lab.write_text("name: lab\nnodes:\n  gateway:\nkubernetes:\n  runtime: docker\n")
    cluster = wished(runtime="docker", source="auto" if how in ("named", "booted") else how)
    if how == "packages":  # those that are fetched will have it
        assert choose_release(cluster, lab, tmp_path / "bundles").to_fetch
        return
    cluster = replace(cluster, bundle=bundle if how == "named" else "")
    with pytest.raises(ConfigError) as caught:
        choose_release(cluster, lab, tmp_path / "bundles", bundle if how == "booted" else "")
    assert str(caught.value) == f"{lab}:5: kubernetes.runtime: must be containerd with bundle plain; got docker"
    assert ("take the lab down" if how == "booted" else "`./lab bundle --docker`") in caught.value.hint


def test_no_bundle_at_all_is_told_with_the_one_that_docker_needs(tmp_path: Path) -> None:
    assert "./lab bundle --docker" in chosen(tmp_path, runtime="docker").words
    with pytest.raises(LabError) as caught:
        chosen(tmp_path, runtime="docker", source="bundle")
    assert "--docker" in caught.value.hint


def test_a_booted_lab_stays_with_its_bundle(tmp_path: Path) -> None:
    old = make_bundle(tmp_path / "old", "1.35.4")
    make_bundle(tmp_path / "new", "1.36.3")
    choice = chosen(tmp_path, booted=str(old))
    assert choice.release is not None
    assert choice.release.kubernetes == "1.35.4"


def without(part: str, name: str) -> object:
    def change(manifest: dict[str, list[dict[str, str]]]) -> None:
        manifest[part] = [item for item in manifest[part] if name not in item["path"]]

    return change


def tag(name: str, version: str) -> object:
    def change(manifest: dict[str, list[dict[str, str]]]) -> None:
        for item in manifest["images"]:
            if name in item["path"]:
                item["reference"] = f"registry.example/{name}:{version}"

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("files", "bin/kubelet"), "lacks bin/kubelet"),
        (without("files", "cni/flannel"), "lacks cni/flannel"),
        (without("images", "coredns"), "lacks the image coredns"),
        (without("manifests", "metallb"), "lacks manifests/metallb.yaml"),
        (tag("kube-proxy", "v1.37.0"), "kube-proxy must be from 1.33 to 1.36 beside an API server of 1.36; got 1.37"),
        (tag("kube-scheduler", "v1.34.0"), "kube-scheduler must be from 1.35 to 1.36"),
        (lambda manifest: manifest["components"].update(kubelet="1.37.1"), "kubelet must be from 1.33 to 1.36"),
        (lambda manifest: manifest.update(schema=2), "schema: must be 1; got 2"),
        (lambda manifest: manifest.pop("images"), "images: must be a list; got None"),
    ],
)
def test_what_is_no_bundle_is_refused(change: object, words: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "one")
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)  # type: ignore[operator]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LabError) as caught:
        chosen(tmp_path)
    assert words in caught.value.message
    assert "./lab bundle" in caught.value.hint


def test_checksums_are_looked_at_once(tmp_path: Path) -> None:
    release = make_release(tmp_path / "one")
    check_files(release)
    stamp = (tmp_path / ".one.checked").read_text()
    check_files(release)
    assert (tmp_path / ".one.checked").read_text() == stamp
    image = tmp_path / "one/images/coredns.tar"
    image.write_text("something else")
    with pytest.raises(LabError, match=r"images/coredns.tar: must have the SHA-256 \w+; has \w+"):
        check_files(release)
    image.unlink()
    with pytest.raises(LabError, match=r"images/coredns.tar: must have the SHA-256 \w+; is not there"):
        check_files(release)


def test_a_computer_that_is_too_small_is_told_before_anything_boots(tmp_path: Path) -> None:
    topology = shipped("kubernetes")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 99999999 kB\nMemAvailable: {needed_memory(topology) * 1024} kB\n")
    check_room(topology, meminfo)
    meminfo.write_text("MemAvailable: 2097152 kB\n")
    with pytest.raises(MissingTool, match=r"needs \d+ MiB of free memory; there are 2048 MiB"):
        check_room(topology, meminfo)


def test_without_a_release_the_lab_comes_without_a_cluster(tmp_path: Path) -> None:
    config, topology = load_config(LAB), shipped("kubernetes")
    bare, choice = settle_kubernetes(config, topology, LAB, tmp_path, None)
    assert choice is not None
    assert choice.release is None
    assert bare.kubernetes is None
    assert [service.name for service in bare.services] == ["etcd"]
    assert {volume.name for node in bare.by_role("master") for volume in node.volumes} == {"etcd"}


def test_the_choice_says_what_comes_of_claims(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "old", "1.36.3")

    def words(lab: str) -> str:
        file = PROJECT / "config" / f"{lab}.yaml"
        _, choice = settle_kubernetes(load_config(file), shipped(lab), file, tmp_path, None)
        assert choice is not None
        return choice.words

    assert "no StorageClass, for this bundle has no driver" in words("kubernetes")
    add_images(bundle, *STORAGE_IMAGES)
    assert "; StorageClass gluster on Gluster volume shared" in words("kubernetes")
    assert "no StorageClass, for the lab has no Gluster" in words("kubernetes-small")


def add_images(bundle: Path, *names: str) -> None:
    document = json.loads((bundle / "manifest.json").read_text())
    template = document["images"][0]
    for name in names:
        reference, path = f"registry.example/{name}:v1", f"images/{name}.tar"
        document["images"].append({**template, "reference": reference, "path": path, "on": ["worker"]})
    (bundle / "manifest.json").write_text(json.dumps(document))


def test_the_choice_says_what_comes_of_ingresses(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "old", "1.36.3")
    file = tmp_path / "lab.yaml"

    def settled(more: str = "", lb: str = "  lb:\n", after: str = "") -> tuple[Topology, str]:
        text = f"name: one\nnodes:\n  gateway:\n{lb}  master: {{count: 1}}\n  worker:\nkubernetes:\n{more}{after}"
        file.write_text(text)
        config = load_config(file)
        topology, choice = settle_kubernetes(config, plan_topology(config), file, tmp_path, None)
        assert choice is not None
        return topology, choice.words

    topology, words = settled()
    assert words.endswith("; no ingress controller, for this bundle has no Traefik (one made by `./lab bundle` has)")
    assert topology.kubernetes is not None
    assert [service.name for service in topology.services] == ["etcd", "api"], "nobody would answer there"
    assert not topology.has_ingress
    add_images(bundle, *INGRESS_IMAGES)
    topology, words = settled()
    assert words.endswith("; Ingresses by Traefik at *.apps.kube.demo (192.168.4.20)")
    assert topology.has_ingress
    taken = "services: [{name: web, port: 80, backend: worker}, {name: webs, port: 443, backend: worker}]"
    words = settled(after=f"load_balancer: {{{taken}}}\n")[1]
    assert words.endswith("; Ingresses by Traefik at workers' ports alone: 192.168.4.20:80 and :443 are taken")
    assert settled("  ingress: none\n")[1].endswith("; no ingress controller, as kubernetes.ingress says")
    assert settled(lb="")[1].endswith("; no ingress controller, for the lab has no balancers")


def test_a_state_says_what_was_booted(tmp_path: Path) -> None:
    config, topology = load_config(LAB), shipped("kubernetes")
    old = make_bundle(tmp_path / "old", "1.35.4")
    make_bundle(tmp_path / "new", "1.36.3")
    state = LabState("kubernetes", str(LAB), "lxc", phase="up", bundle=str(old))
    _, choice = settle_kubernetes(config, topology, LAB, tmp_path, state)
    assert choice is not None
    assert choice.release is not None
    assert choice.release.name == "old"
    _, fresh = settle_kubernetes(config, topology, LAB, tmp_path, replace(state, phase="absent"))
    assert fresh is not None
    assert fresh.release is not None
    assert fresh.release.name == "new"

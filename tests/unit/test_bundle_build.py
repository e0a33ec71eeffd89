"""What a bundle is built from: pinned versions that agree, keys that change with what they stand for, an SBOM."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rackbox import golang
from rackbox.bundle_build import build_from_go, check_pins
from rackbox.bundle_cache import Cache
from rackbox.bundle_check import check_bundle
from rackbox.bundle_components import component_key, stamps_of
from rackbox.bundle_parts import Parts, add_manifest, assemble, images_named
from rackbox.bundle_pins import DATA, Pins, list_minors, load_pins
from rackbox.bundle_recipe import COMPONENTS, IMAGES, MANIFESTS, reference_of
from rackbox.bundle_sbom import deb_part, make_bundle_sbom, module_part
from rackbox.errors import CommandFailed, LabError, MissingTool
from rackbox.golang import Go, Module, check_go, go_directive, output_name, parse_build_info, required_version
from rackbox.paths import Home
from rackbox.run import Result
from tests.bundling import make_document

KUBERNETES = next(component for component in COMPONENTS if component.name == "kubernetes")

API = {"path": "k8s.io/api", "version": "v0.36.3", "checksum": "h1:" + "A" * 43 + "="}


@pytest.fixture(params=list_minors())
def pins(request: pytest.FixtureRequest) -> Pins:
    return load_pins(request.param)


def test_there_are_two_minors_to_go_from_one_to_the_next() -> None:
    minors = list_minors()
    assert [int(minor.partition(".")[2]) for minor in minors[-2:]] == [35, 36]
    assert load_pins().minor == minors[-1]


def test_go_mod_and_pins_agree(pins: Pins) -> None:
    check_pins(pins)


def test_every_module_is_locked(pins: Pins) -> None:
    for component in COMPONENTS:
        lines = (pins.modules[component.name] / "go.sum").read_text().splitlines()
        assert lines
        assert all(re.fullmatch(r"\S+ v\S+ h1:[\w+/]{43}=", line) for line in lines)


def test_kubernetes_sisters_are_of_the_same_release(pins: Pins) -> None:
    text = (pins.modules["kubernetes"] / "go.mod").read_text()
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (\S+) (v\S+)$", text, re.MULTILINE)
    assert len(replaced) > 25
    assert {version for _, _, version in replaced} == {f"v0{pins.kubernetes[1:]}"}
    assert all(old == new for old, new, _ in replaced)


def test_every_program_is_pinned_as_a_tool(pins: Pins) -> None:
    """`go mod tidy` would drop what nothing names, and with it the checksums."""
    for component in COMPONENTS:
        text = (pins.modules[component.name] / "go.mod").read_text()
        for program in component.programs:
            if not program.package.startswith("./"):
                assert re.search(rf"^(tool |\t){re.escape(program.package)}$", text, re.MULTILINE), program.package


def test_a_version_that_differs_from_go_mod_is_refused(pins: Pins) -> None:
    other = dataclasses.replace(pins, components={**pins.components, "metallb": "0.99.0"})
    with pytest.raises(LabError, match=r"metallb/go\.mod: go\.universe\.tf/metallb: must be v0\.99\.0.*got v0\.15\.2"):
        check_pins(other)


def test_a_minor_that_is_not_there() -> None:
    with pytest.raises(LabError, match=r"minor: must be one of 1\.35, 1\.36; got 1\.12"):
        load_pins("1.12")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("kubernetes: 1.35.4", "kubernetes: must be a release of 1.36; got 1.35.4"),
        ("kubernetes: latest", "kubernetes: must be a version such as 1.2.3; got 'latest'"),
    ],
)
def test_pins_that_cannot_be_used(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "1.36.yaml").write_text(f"{line}\n")
    with pytest.raises(LabError, match=re.escape(says)):
        load_pins("1.36", tmp_path)


def test_images_have_the_names_that_kubeadm_asks_for() -> None:
    pins = load_pins("1.36")
    names = {reference_of(image, pins.components) for image in IMAGES}
    assert {
        "registry.k8s.io/kube-apiserver:v1.36.3",
        "registry.k8s.io/coredns/coredns:v1.14.2",
        "registry.k8s.io/pause:3.10.2",
        "registry.k8s.io/etcd:3.6.8-0",
    } <= names


def test_stamps_make_kubeadm_say_its_version() -> None:
    stamps = stamps_of(KUBERNETES, "1.36.3", "2026-07-22T18:07:38Z")
    assert stamps["k8s.io/component-base/version.gitVersion"] == "v1.36.3"
    assert stamps["k8s.io/client-go/pkg/version.gitMinor"] == "36"
    assert stamps["k8s.io/component-base/version.buildDate"] == "2026-07-22T18:07:38Z"


def test_a_key_changes_with_all_that_decides_how_it_comes_out(tmp_path: Path) -> None:
    pins = load_pins()
    modules = tmp_path / "kubernetes"
    shutil.copytree(pins.modules["kubernetes"], modules)
    pins = dataclasses.replace(pins, modules={**pins.modules, "kubernetes": modules})
    newer = dataclasses.replace(pins, components={**pins.components, "kubernetes": "1.36.9"})
    other = dataclasses.replace(KUBERNETES, tags=("other",))
    keys = [
        component_key(KUBERNETES, pins, "amd64", Go("go1.26.8")),
        component_key(KUBERNETES, pins, "arm64", Go("go1.26.8")),
        component_key(KUBERNETES, pins, "amd64", Go("go1.26.9")),
        component_key(KUBERNETES, newer, "amd64", Go("go1.26.8")),
        component_key(other, pins, "amd64", Go("go1.26.8")),
    ]
    (modules / "go.sum").write_text("changed")
    keys.append(component_key(KUBERNETES, pins, "amd64", Go("go1.26.8")))
    assert len(set(keys)) == len(keys)


def test_the_cache_gives_back_only_what_is_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    made = tmp_path / "made"
    made.mkdir()
    (made / "pause").write_bytes(b"program")
    assert cache.find("pause", "k" * 64) is None
    kept = cache.keep("pause", "k" * 64, made, {"go": "go1"})
    assert not made.exists()
    found = cache.find("pause", "k" * 64)
    assert found == kept
    assert found is not None
    assert found.notes == {"go": "go1"}
    assert cache.find("pause", "l" * 64) is None
    found.path("pause").write_bytes(b"changed")
    assert cache.find("pause", "k" * 64) is None
    found.path("pause").unlink()
    assert cache.find("pause", "k" * 64) is None


def test_the_cache_drops_what_no_build_has_used_for_long(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for name in ("old", "new"):
        made = tmp_path / name
        made.mkdir()
        cache.keep(name, name * 20, made, {})
    cache.drop_others({"old": "old" * 20, "new": "new" * 20}, 10.0, 1000.0)
    cache.drop_others({"new": "new" * 20}, 10.0, 1011.0)
    assert cache.find("old", "old" * 20) is None
    assert cache.find("new", "new" * 20) is not None


def make_parts(out: Path) -> Parts:
    document = make_document(out)
    parts = Parts(document["files"], document["images"], document["manifests"])
    for entry in (*parts.files, *parts.images, *parts.manifests):
        del entry["sha256"], entry["size"]
    parts.materials.append(module_part(API))
    package = {"name": "nftables", "version": "1.1.3-1", "architecture": "amd64", "sha256": "ab" * 32}
    parts.materials.append(deb_part(package, "trixie"))
    return parts


def test_a_bundle_is_put_together_and_moved_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    home = Home(tmp_path / "home", tmp_path / "run")
    home.bundles.mkdir(parents=True)
    made = []
    for name in ("one", "two"):
        out = tmp_path / name
        made.append(assemble(home, out, load_pins("1.36"), "amd64", "go", make_parts(out), {"go": "go1.26.8"}))
        assert not out.exists()
    assert made[0] == made[1]
    assert re.fullmatch(r"1\.36\.3-amd64-[0-9a-f]{8}", made[0].version)
    assert [path.name for path in home.bundles.iterdir()] == [made[0].version]
    check_bundle(made[0], arch="amd64", stacked_etcd=True)
    sbom = json.loads((made[0].root / "sbom.cdx.json").read_text())
    assert "pkg:golang/k8s.io/api@v0.36.3" in {part.get("purl") for part in sbom["components"]}


def test_what_we_would_not_read_is_not_written(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", tmp_path / "run")
    home.bundles.mkdir(parents=True)
    parts = make_parts(tmp_path / "out")
    parts.images[0]["reference"] = "nonsense"
    with pytest.raises(LabError, match=r"images\[0\]\.reference"):
        assemble(home, tmp_path / "out", load_pins("1.36"), "amd64", "go", parts, {})
    assert list(home.bundles.iterdir()) == []


def test_a_manifest_that_was_not_pinned_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "flannel.yaml").write_text("image: evil/flannel:v1\n")
    with pytest.raises(LabError, match=r"flannel\.yaml of flannel 0\.28\.4: SHA-256 must be [0-9a-f]{64}; got"):
        add_manifest(Parts(), MANIFESTS[0], tmp_path / "flannel.yaml", load_pins("1.36"), tmp_path)


def test_images_that_a_manifest_names(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        'a:\n  - image: h/a:1\n    image: "h/b:2"\n  image: "h/b:2"\n  imagePullPolicy: x\n'
    )
    assert images_named(tmp_path / "x.yaml") == ["h/a:1", "h/b:2"]


@pytest.fixture
def sbom() -> dict[str, Any]:
    header = {"version": "1.36.3-amd64-0", "built": "2026-11-22T04:00:00+00:00", "rackbox": "0.2.0", "from": "go"}
    module = module_part(API)
    package = {"name": "libc6", "version": "2.41-12", "architecture": "amd64", "sha256": "ab" * 32}
    return make_bundle_sbom(header, [module, deb_part(package, "trixie"), module])


def test_the_bill_of_materials_is_valid_cyclonedx(sbom: dict[str, Any]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(sbom))
    assert problem is None, str(problem)
    assert [part["purl"] for part in sbom["components"]] == [
        "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13",
        "pkg:golang/k8s.io/api@v0.36.3",
    ]


def test_what_the_linker_has_put_in() -> None:
    answer = json.dumps(
        {
            "GoVersion": "go1.26.8",
            "Deps": [
                {"Path": "b", "Version": "v1.0.0", "Sum": "h1:b"},
                {"Path": "a", "Version": "v0.0.0", "Replace": {"Path": "a", "Version": "v0.36.3", "Sum": "h1:a"}},
            ],
        }
    )
    alone = json.dumps({"GoVersion": "go1.26.8"})
    found = parse_build_info(f"{answer}\n{alone}\n{answer}")
    assert found == (Module("a", "v0.36.3", "h1:a"), Module("b", "v1.0.0", "h1:b"))


@pytest.mark.parametrize(
    ("package", "name"),
    [("k8s.io/kubernetes/cmd/kubeadm", "kubeadm"), ("go.etcd.io/etcd/server/v3", "server"), ("./pause", "pause")],
)
def test_what_go_calls_a_program(package: str, name: str) -> None:
    assert output_name(package) == name


def test_go_mod_is_read() -> None:
    assert go_directive(DATA / "modules" / "containerd") == (1, 26, 8)
    assert required_version(DATA / "modules" / "flannel", "github.com/flannel-io/flannel") == "0.28.4"
    assert required_version(DATA / "modules" / "flannel", "github.com/nobody") == ""


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        ("go1.26.8\nlocal\n", True),
        ("go1.27.0\nauto\n", True),
        ("go1.26.0\nlocal\n", False),
        ("go1.24.4\nauto\n", True),
        ("go1.24.4\nlocal\n", False),
        ("go1.19.8\n\n", False),
    ],
)
def test_which_go_is_enough(answer: str, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "run", lambda *_, **__: Result(("go",), 0, answer, "", 0.1))
    check = check_go((1, 26, 8))
    assert check.ok is ok
    assert bool(check.fix) is not ok


def test_no_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Flannel's UDP backend is C: known before the half hour of compiling, not after it."""
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    assert not golang.check_compiler().ok
    with pytest.raises(MissingTool, match="C compiler: not found; needs gcc and libc6-dev") as caught:
        build_from_go(Home(tmp_path, tmp_path), load_pins(), "amd64", Console(quiet=True))
    assert "apt-get install" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [MissingTool("go: not found"), CommandFailed("go env: exit 1")])
def test_no_go_is_told_with_how_to_get_it(error: LabError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Result:
        raise error

    monkeypatch.setattr(golang, "run", fail)
    check = check_go((1, 26, 8))
    assert not check.ok
    assert "go.dev/doc/install" in check.fix
    with pytest.raises(MissingTool, match=r"building containerd needs 1\.26"):
        golang.find_go(DATA / "modules" / "containerd")

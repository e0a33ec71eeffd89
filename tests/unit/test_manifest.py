"""What a box was made of: read, compared, and said as a bill of materials that CycloneDX's own schema accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rackbox.changes import compare_manifests, compare_packages, is_same, list_changes
from rackbox.manifest import Package, make_manifest, packages_of, parse_packages, parse_resolved, parse_sources
from rackbox.sbom import make_sbom, package_url

RESOLVED = """\
haproxy\t3.0.11-1+deb13u5\tamd64\tDebian-Security:13/stable-security\taa
jq\t1.7.1-6\tamd64\tDebian:13.7/stable\tbb
login\t1:4.16-2\tamd64\tDebian:13.7/stable, Debian-Security:13/stable-security\tcc
"""
SOURCES = """\
Origin: Debian
Suite: stable
Date: Sat, 12 Sep 2026 07:55:41 UTC

Origin: Debian
Suite: stable-security
Date: Fri, 20 Nov 2026 00:12:42 UTC
"""
INSTALLED = """\
haproxy\t3.0.11-1+deb13u5\tamd64\thaproxy\t3.0.11-1+deb13u5
jq\t1.7.1-5\tamd64\tjq\t1.7.1-5
login\t1:4.16-2\tamd64\tutil-linux\t2.41.5-0
"""


def manifest(**packages: str) -> dict[str, Any]:
    return {
        "recipe": "r",
        "packages": [{"name": n, "version": v, "architecture": "amd64"} for n, v in packages.items()],
    }


def test_what_the_solver_said() -> None:
    resolved = parse_resolved(RESOLVED, SOURCES)
    assert [package.is_security for package in resolved.packages.values()] == [True, False, True]
    assert resolved.packages["jq"] == Package("jq", "1.7.1-6", "amd64", "Debian:13.7/stable", "bb")
    assert resolved.epoch == 1795133562, "the newest Release file's date: 20 Nov 2026 00:12:42 UTC"
    assert parse_resolved("", "").epoch == 0


def test_what_dpkg_said_has_its_origin_only_where_the_versions_agree() -> None:
    packages = parse_packages(INSTALLED, parse_resolved(RESOLVED, SOURCES).packages)
    assert packages["haproxy"].sha256 == "aa"
    assert (packages["jq"].origin, packages["jq"].sha256) == ("", "")
    assert packages["login"].source == "util-linux"


def test_a_manifest_comes_back_as_it_was() -> None:
    packages = parse_packages(INSTALLED, parse_resolved(RESOLVED, SOURCES).packages)
    document = make_manifest({"version": "1"}, packages.values(), parse_sources(SOURCES), ["zstd 1"], None)
    again = json.loads(json.dumps(document))
    assert packages_of(again) == packages
    assert again["lvm"] is None
    assert again["sources"][1]["Suite"] == "stable-security"


@pytest.mark.parametrize("broken", [{}, {"packages": 3}, {"packages": [3]}, {"packages": [{"name": "x"}]}])
def test_a_manifest_that_is_none_lists_nothing(broken: dict[str, Any]) -> None:
    assert packages_of(broken) == {}


def test_every_kind_of_change() -> None:
    old = {name: Package(name, "1", "amd64") for name in ("same", "newer", "gone", "moved")}
    new = {
        "same": Package("same", "1", "amd64", "Debian:13/stable", "sum", "source", "1"),
        "newer": Package("newer", "2", "amd64", "Debian-Security:13/stable-security"),
        "added": Package("added", "1", "all"),
        "moved": Package("moved", "1", "all"),
    }
    assert [str(change) for change in compare_packages(old, new)] == [
        "added    added 1",
        "removed  gone 1",
        "changed  moved 1 (amd64) → 1 (all)",
        "changed  newer 1 → 2  [security]",
    ]


def test_recipes_are_named_by_their_commit_where_there_is_one() -> None:
    old = manifest(jq="1") | {"recipe": "x" * 64, "revision": {"commit": "a" * 40, "dirty": True}}
    new = manifest(jq="1") | {"recipe": "y" * 64, "revision": None}
    assert compare_manifests(old, new) == (f"recipe   {'a' * 12} with changes → {'y' * 12}",)


def test_a_build_of_the_same_is_told() -> None:
    resolved = parse_resolved(RESOLVED, SOURCES)
    versions = {name: package.version for name, package in resolved.packages.items()}
    assert list_changes(manifest(**versions), "r", resolved) == ()
    assert is_same(manifest(**versions), "r", resolved)
    assert not is_same(manifest(**versions), "another", resolved)
    assert not is_same({}, "r", resolved)


@pytest.fixture
def sbom() -> dict[str, Any]:
    packages = parse_packages(INSTALLED, parse_resolved(RESOLVED, SOURCES).packages)
    packages = {
        name: Package(p.name, p.version, p.architecture, p.origin, "ab" * 32 if p.sha256 else "", p.source, "1")
        for name, p in packages.items()
    }
    header = {
        "os": "debian-13",
        "provider": "lxc",
        "version": "20260101.1",
        "built": "2026-01-01T00:00:00+00:00",
        "rackbox": "0.2.0",
        "recipe": "r" * 64,
        "sha256": "cd" * 32,
    }
    return make_sbom(make_manifest(header, packages.values(), [], [], None))


def test_the_bill_of_materials_is_valid_cyclonedx(sbom: dict[str, Any]) -> None:
    """By the schema that CycloneDX publishes, with its formats checked."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(sbom))
    assert problem is None, str(problem)
    sbom["components"][0]["type"] = "sandwich"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(sbom)) is not None


def test_the_same_box_has_the_same_document(sbom: dict[str, Any]) -> None:
    assert len(sbom["dependencies"][0]["dependsOn"]) == len(sbom["components"]) == 3


def test_package_urls() -> None:
    package = Package("libc++1", "1:2.0+b1", "amd64", source="llvm", source_version="1:2.0")
    url = package_url(package, "debian-13")
    assert url == "pkg:deb/debian/libc%2B%2B1@1%3A2.0%2Bb1?arch=amd64&distro=debian-13&upstream=llvm%401%3A2.0"
    assert "upstream" not in package_url(Package("jq", "1", "all", source="jq", source_version="1"), "debian-13")

"""A bundle's bill of materials as CycloneDX 1.6 JSON: its files, the Go modules and Debian packages in them. Pure.

Entry point: ``make_bundle_sbom``.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from rackbox.manifest import Package
from rackbox.sbom import NAMESPACE, package_url

Part = Mapping[str, Any]
"""One CycloneDX component."""

DEBIAN = {"bookworm": "debian-12", "trixie": "debian-13"}


def module_part(module: Mapping[str, str]) -> Part:
    """A Go module that is linked in. go.sum's ``h1:`` is a SHA-256 over the module's files, in base64; it stands as a
    property, for no single file has it."""
    name, version = module["path"], module["version"]
    where = "/".join(quote(part, safe="-._~") for part in name.split("/"))
    url = f"pkg:golang/{where}@{quote(version, safe='-._~')}"
    part: dict[str, Any] = {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
    if module.get("checksum"):
        base64.b64decode(module["checksum"].removeprefix("h1:"), validate=True)
        part["properties"] = [{"name": "rackbox:gosum", "value": module["checksum"]}]
    return part


def deb_part(package: Mapping[str, str], suite: str) -> Part:
    """A Debian package that an image holds."""
    named = Package(name=package["name"], version=package["version"], architecture=package["architecture"])
    url = package_url(named, DEBIAN[suite])
    return {
        "type": "library",
        "bom-ref": url,
        "name": package["name"],
        "version": package["version"],
        "purl": url,
        "hashes": [{"alg": "SHA-256", "content": package["sha256"]}],
    }


def file_part(entry: Mapping[str, Any], version: str) -> Part:
    """A file of the bundle, as its manifest has it."""
    kind = "container" if "reference" in entry else "file" if "images" in entry else "application"
    part: dict[str, Any] = {
        "type": kind,
        "bom-ref": f"file:{entry['path']}",
        "name": entry.get("reference") or entry["path"],
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": entry["sha256"]}],
        "properties": [{"name": "rackbox:component", "value": entry["component"]}],
    }
    return part


def make_bundle_sbom(manifest: Mapping[str, Any], parts: Iterable[Part]) -> dict[str, Any]:
    """The whole document; parts that several programs share stand in it once."""
    listed = {part["bom-ref"]: part for part in parts}
    version = manifest["version"]
    bundle = f"rackbox/kubernetes-bundle@{version}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, version)}",
        "version": 1,
        "metadata": {
            "timestamp": manifest["built"],
            "tools": {"components": [{"type": "application", "name": "rackbox", "version": manifest["rackbox"]}]},
            "component": {
                "type": "platform",
                "bom-ref": bundle,
                "name": "rackbox/kubernetes-bundle",
                "version": version,
                "properties": [{"name": "rackbox:from", "value": manifest["from"]}],
            },
        },
        "components": [listed[name] for name in sorted(listed)],
        "dependencies": [{"ref": bundle, "dependsOn": sorted(listed)}],
    }

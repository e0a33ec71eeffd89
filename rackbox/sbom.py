"""A box's software bill of materials as CycloneDX 1.6 JSON (https://cyclonedx.org/docs/1.6/json/). Pure.

Entry point: ``make_sbom``. The same box has the same document: its serial number is made from the box's checksum.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from rackbox.manifest import Package, packages_of

NAMESPACE = uuid.UUID("6f0f3f5e-6a0c-5a7b-9d43-6d2a4e1c7b10")
"""Ours alone, for serial numbers (RFC 9562, version 5)."""


def make_sbom(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Every package of a box: name, version, package URL, the .deb's SHA-256 where it is known."""
    os_name, version = manifest["os"], manifest["version"]
    box = f"rackbox/{os_name}"
    components = [_component(package, os_name) for package in packages_of(manifest).values()]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, manifest['sha256'])}",
        "version": 1,
        "metadata": {
            "timestamp": manifest["built"],
            "tools": {"components": [{"type": "application", "name": "rackbox", "version": manifest["rackbox"]}]},
            "component": {
                "type": "operating-system",
                "bom-ref": f"{box}@{version}",
                "name": box,
                "version": version,
                "hashes": [{"alg": "SHA-256", "content": manifest["sha256"]}],
                "properties": [
                    {"name": "rackbox:provider", "value": manifest["provider"]},
                    {"name": "rackbox:recipe", "value": manifest["recipe"]},
                ],
            },
        },
        "components": components,
        "dependencies": [{"ref": f"{box}@{version}", "dependsOn": [item["bom-ref"] for item in components]}],
    }


def package_url(package: Package, os_name: str) -> str:
    """See https://github.com/package-url/purl-spec, type ``deb``. ``upstream`` is what scanners match advisories by."""
    vendor, _, release = os_name.partition("-")
    qualifiers = {"arch": package.architecture, "distro": f"{vendor}-{release}"}
    if package.source and (package.source, package.source_version) != (package.name, package.version):
        qualifiers["upstream"] = f"{package.source}@{package.source_version}"
    tail = "&".join(f"{name}={quote(value, safe='-._~')}" for name, value in sorted(qualifiers.items()))
    return f"pkg:deb/{vendor}/{quote(package.name, safe='-._~')}@{quote(package.version, safe='-._~')}?{tail}"


def _component(package: Package, os_name: str) -> dict[str, Any]:
    url = package_url(package, os_name)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": package.name,
        "version": package.version,
        "purl": url,
    }
    if package.sha256:
        component["hashes"] = [{"alg": "SHA-256", "content": package.sha256}]
    if package.origin:
        component["properties"] = [{"name": "rackbox:origin", "value": package.origin}]
    return component

"""`invoke bundle --from go`: builds a bundle's programs from pinned Go modules and packs their images.

Entry point: ``build_from_go``. Each component is kept by what it was made from, so that a build that was broken off
goes on where it was, and one that is asked for again has nothing to do.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from rackbox.bundle import MANIFEST, Bundle, kept_roots, read_bundle
from rackbox.bundle_cache import KEPT_S, Cache, Kept, digest_of
from rackbox.bundle_check import check_files
from rackbox.bundle_components import RECIPE, pack_image, take_component
from rackbox.bundle_debian import docker_files, take_docker, take_userland
from rackbox.bundle_parts import Bench, Parts, add_manifest, assemble, bundle_builder
from rackbox.bundle_pins import Pins
from rackbox.bundle_recipe import (
    COMPONENTS,
    CRI_DOCKERD,
    DOCKER,
    IMAGES,
    MANIFESTS,
    SUITE,
    Component,
)
from rackbox.bundle_sbom import deb_part, module_part
from rackbox.catalogue import read_json
from rackbox.errors import LabError, MissingTool
from rackbox.golang import (
    check_compiler,
    required_version,
)
from rackbox.oci import layer_of
from rackbox.paths import Home


def build_from_go(home: Home, pins: Pins, arch: str, console: Console, *, docker: bool = False) -> Bundle:
    """A complete bundle in the catalogue: the one that is there, if the same things would come out. With ``docker`` it
    has Docker Engine and cri-dockerd, too."""
    check_pins(pins)
    if any(component.compiler for component in COMPONENTS) and not (check := check_compiler()).ok:
        raise MissingTool(f"{check.name}: {check.found}; needs {check.need}", check.fix)
    started = time.monotonic()
    with bundle_builder(home) as work:
        log = home.bundles / f"build-{pins.minor}-{arch}.log"
        log.unlink(missing_ok=True)
        cache = Cache(home.data / "cache" / "bundle")
        kept: dict[str, Kept] = {}
        keys: dict[str, str] = {}
        bench = Bench(cache, arch, work, log, console)
        if docker:  # first: that it cannot be had is seen before the long ones
            kept[DOCKER] = take_docker(bench, keys)
        for component in components_of(docker=docker):
            kept[component.name] = take_component(bench, component, pins, keys)
        userland = take_userland(bench, keys)
        cache.drop_others(keys, KEPT_S, time.time())
        made_from = digest_of(keys, [asdict(image) for image in IMAGES], RECIPE)
        if (same := _made_before(home, made_from)) is not None:
            console.print(f"[green]✓[/] bundle {same.version}: nothing changed  {time.monotonic() - started:.1f} s")
            return same
        out = work / "bundle"
        parts = _pack(pins, arch, kept, userland, work, out)
        bundle = assemble(
            home, out, pins, arch, "go", parts, {"inputs": made_from, "go": kept["kubernetes"].notes["go"]}
        )
    console.print(
        f"[green]✓[/] bundle {bundle.version}: {len(bundle.files)} programs, {len(bundle.images)} images, "
        f"{bundle.size >> 20} MiB  {time.monotonic() - started:.0f} s"
    )
    return bundle


def components_of(*, docker: bool) -> tuple[Component, ...]:
    """What is built, in this order."""
    return (CRI_DOCKERD, *COMPONENTS) if docker else COMPONENTS


def check_pins(pins: Pins) -> None:
    """Raise unless every go.mod names the version that is pinned."""
    for component in components_of(docker=True):
        directory = pins.modules[component.name]
        wanted, found = pins.components[component.name], required_version(directory, component.module)
        if component.module and found != wanted:
            raise LabError(
                f"{directory / 'go.mod'}: {component.module}: must be v{wanted}, as in {pins.minor}.yaml; "
                f"got {f'v{found}' if found else 'nothing'}",
                "name one version in both, then `go mod tidy` in that directory",
            )


def _pack(pins: Pins, arch: str, kept: Mapping[str, Kept], userland: Kept, work: Path, out: Path) -> Parts:
    """Copy the programs and write the images; the parts' lists."""
    parts = Parts()
    for directory in ("bin", "cni", "images", "manifests"):
        (out / directory).mkdir(parents=True)
    for component in components_of(docker=DOCKER in kept):
        have = kept[component.name]
        for program in component.programs:
            if not program.install:
                continue
            shutil.copyfile(have.path(program.name), out / program.path)
            (out / program.path).chmod(0o755)
            parts.files.append(
                {
                    "path": program.path,
                    "component": component.name,
                    "mode": "0755",
                    "install": program.install,
                    "on": list(program.on),
                }
            )
        parts.materials += [module_part(module) for module in have.notes["modules"]]
    if DOCKER in kept:
        docker_files(parts, kept[DOCKER], out)
    base = layer_of(userland.path("layer.tar"))
    for image in IMAGES:
        parts.images.append(pack_image(image, pins, arch, kept[image.component], work, out, userland=base))
    parts.materials += [deb_part(package, SUITE) for package in userland.notes["packages"]]
    for manifest in MANIFESTS:
        add_manifest(parts, manifest, kept[manifest.component].path(manifest.name), pins, out)
    return parts


def _made_before(home: Home, inputs: str) -> Bundle | None:
    for root in kept_roots(home.bundles):
        if read_json(root / MANIFEST).get("inputs") == inputs:
            bundle = read_bundle(root)
            try:
                check_files(bundle)
            except LabError:  # damaged: it is made anew
                return None
            return bundle
    return None

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
from typing import Any

from rich.console import Console

from rackbox.bundle import MANIFEST, Bundle, kept_roots, read_bundle
from rackbox.bundle_cache import Cache, Kept, digest_of, digest_of_tree
from rackbox.bundle_check import check_files
from rackbox.bundle_debian import EPOCH, Debian, docker_files, take_docker, take_userland
from rackbox.bundle_parts import Parts, add_manifest, assemble, bundle_builder
from rackbox.bundle_pins import Pins
from rackbox.bundle_recipe import (
    COMPONENTS,
    CRI_DOCKERD,
    DOCKER,
    IMAGES,
    MANIFESTS,
    SUITE,
    Component,
    Image,
    reference_of,
)
from rackbox.bundle_sbom import deb_part, module_part
from rackbox.catalogue import read_json
from rackbox.errors import CommandFailed, LabError, MissingTool
from rackbox.golang import (
    Go,
    build_programs,
    check_compiler,
    find_go,
    find_source,
    modules_of,
    output_name,
    required_version,
)
from rackbox.oci import Blob, Entry, ImageConfig, layer_of, write_image, write_layer
from rackbox.paths import Home

RECIPE = 1
"""To be raised when the same inputs are to be built in another way: the cache is asked by it, too."""
KEPT_S = 60 * 86400.0
"""How long a component that no build has used stays in the cache."""


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
        debian = Debian(cache, arch, work, log, console)
        if docker:  # first: that it cannot be had is seen before the long ones
            kept[DOCKER] = take_docker(debian, keys)
        for component in components_of(docker=docker):
            go = find_go(pins.modules[component.name])
            name, key = f"{component.name}-{arch}", component_key(component, pins, arch, go)
            found = cache.find(name, key)
            kept[component.name] = found or _build(component, pins, arch, go, cache, name, key, work, log, console)
            keys[name] = key
        userland = take_userland(debian, keys)
        cache.drop_others(keys, KEPT_S, time.time())
        made_from = digest_of(keys, [asdict(image) for image in IMAGES], RECIPE)
        if (same := _made_before(home, made_from)) is not None:
            console.print(f"[green]✓[/] bundle {same.version}: nothing changed  {time.monotonic() - started:.1f} s")
            return same
        out = work / "bundle"
        parts = _pack(pins, arch, kept, userland, work, out)
        bundle = assemble(home, out, pins, arch, "go", parts, {"inputs": made_from, "go": go.version})
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


def component_key(component: Component, pins: Pins, arch: str, go: Go) -> str:
    """What decides how a component comes out."""
    recipe = asdict(component)
    if not component.compiler:
        del recipe["compiler"]
    version = pins.components[component.name]
    return digest_of(RECIPE, recipe, version, arch, go.version, digest_of_tree(pins.modules[component.name]))


def stamps_of(component: Component, version: str, date: str) -> dict[str, str]:
    """The variables that are set at link time, filled in."""
    major, minor = version.split(".")[:2]
    values = {"version": version, "major": major, "minor": minor, "date": date}
    return {name: text.format(**values) for name, text in component.stamps.items()}


def _build(
    component: Component,
    pins: Pins,
    arch: str,
    go: Go,
    cache: Cache,
    name: str,
    key: str,
    work: Path,
    log: Path,
    console: Console,
) -> Kept:
    started = time.monotonic()
    module, version = pins.modules[component.name], pins.components[component.name]
    console.print(f"building {component.name} {version} with {go.version} (log: {log})", soft_wrap=True)
    made = work / component.name
    made.mkdir()
    packages = [program.package for program in component.programs]
    try:
        source = find_source(module, component.module, log) if component.module else None
        stamps = stamps_of(component, version, source.time if source else "")
        build_programs(
            module, packages, made, arch=arch, stamps=stamps, tags=component.tags, log=log, compiler=component.compiler
        )
    except CommandFailed as error:
        raise _explain(error, component, log, work) from error
    programs = []
    for program in component.programs:
        path = made / output_name(program.package)
        programs.append(path.rename(made / program.name))
    modules = [asdict(module) for module in modules_of(programs)]
    for manifest in MANIFESTS:
        if manifest.component == component.name and source is not None:
            shutil.copyfile(source.directory / manifest.source, made / manifest.name)
    kept = cache.keep(name, key, made, {"modules": modules, "go": go.version})
    size = sum(program.stat().st_size for program in kept.directory.iterdir()) >> 20
    console.print(f"[green]✓[/] {component.name} {version} {size} MiB  {time.monotonic() - started:.0f} s")
    return kept


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
        parts.images.append(_pack_image(image, pins, arch, kept[image.component], base, work, out))
    parts.materials += [deb_part(package, SUITE) for package in userland.notes["packages"]]
    for manifest in MANIFESTS:
        add_manifest(parts, manifest, kept[manifest.component].path(manifest.name), pins, out)
    return parts


def _pack_image(image: Image, pins: Pins, arch: str, have: Kept, base: Blob, work: Path, out: Path) -> dict[str, Any]:
    path = f"images/{image.name}.tar"
    reference = reference_of(image, pins.components)
    entries = [Entry(image.inside, have.path(image.program))]
    if not image.userland:
        entries.append(Entry("tmp", mode=0o1777))
    own = write_layer(work / "layer.tar", entries, EPOCH)
    labels = {
        "org.opencontainers.image.title": image.name,
        "org.opencontainers.image.version": pins.components[image.component],
    }
    config = ImageConfig((image.inside,), arch, EPOCH, labels=labels)
    digest = write_image(out / path, reference, [base, own] if image.userland else [own], config)
    return {
        "path": path,
        "component": image.component,
        "reference": reference,
        "digest": digest,
        "on": list(image.on),
    }


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


def _explain(error: CommandFailed, component: Component, log: Path, work: Path) -> LabError:
    """The same failure with what to do about it."""
    text = error.message
    if "no space left on device" in text.lower() or shutil.disk_usage(work).free >> 20 < 100:
        return LabError(
            f"{component.name}: the disk is full (log: {log})", "make room: Go's build cache needs some GiB"
        )
    if "signal: killed" in text:
        error.hint = "the compiler or the linker was killed, mostly for memory: linking the kubelet needs about 2 GiB"
    elif "dial tcp" in text or "no such host" in text or "403 Forbidden" in text:
        error.hint = "the Go module proxy was not reached or refused: see `go env GOPROXY`; what is done is kept"
    elif "404 Not Found" in text or "410 Gone" in text or "version is not available" in text:
        error.message = f"a module of {component.name} cannot be had from the Go module proxy:\n{text}"
        error.hint = "name a proxy that has it: see `go env GOPROXY`; what is done is kept"
    else:
        error.hint = f"the whole output is in {log}; what is done is kept: run it again to go on"
    return error

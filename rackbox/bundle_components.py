"""Components of a bundle that are built of pinned Go modules, and images of their programs.

Each is kept by what it was made from. Entry points: ``take_component``, ``pack_image``.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rackbox.bundle_cache import Kept, digest_of, digest_of_tree
from rackbox.bundle_debian import EPOCH
from rackbox.bundle_parts import Bench
from rackbox.bundle_pins import Pins
from rackbox.bundle_recipe import MANIFESTS, Component, Image, reference_of
from rackbox.errors import CommandFailed, LabError, ModulesUnavailable
from rackbox.golang import Go, build_programs, find_go, find_source, modules_of, output_name
from rackbox.oci import Blob, Entry, ImageConfig, write_image, write_layer

RECIPE = 1
"""To be raised when the same inputs are to be built in another way: the cache is asked by it, too."""


def take_component(bench: Bench, component: Component, pins: Pins, keys: dict[str, str]) -> Kept:
    """The component as the cache has it, or built now. ``keys`` gets the name and the key that the cache knows it by.

    Raises ``MissingTool`` without a Go toolchain that can build it.
    """
    go = find_go(pins.modules[component.name])
    name, key = f"{component.name}-{bench.arch}", component_key(component, pins, bench.arch, go)
    kept = bench.cache.find(name, key) or _build(bench, component, pins, go, name, key)
    keys[name] = key
    return kept


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


def _build(bench: Bench, component: Component, pins: Pins, go: Go, name: str, key: str) -> Kept:
    started = time.monotonic()
    module, version = pins.modules[component.name], pins.components[component.name]
    bench.console.print(f"building {component.name} {version} with {go.version} (log: {bench.log})", soft_wrap=True)
    made = bench.work / component.name
    made.mkdir()
    packages = [program.package for program in component.programs]
    try:
        source = find_source(module, component.module, bench.log) if component.module else None
        stamps = stamps_of(component, version, source.time if source else "")
        build_programs(
            module,
            packages,
            made,
            arch=bench.arch,
            stamps=stamps,
            tags=component.tags,
            log=bench.log,
            compiler=component.compiler,
        )
    except CommandFailed as error:
        raise explain(error, component, bench.log, bench.work) from error
    programs = []
    for program in component.programs:
        path = made / output_name(program.package)
        programs.append(path.rename(made / program.name))
    modules = [asdict(module) for module in modules_of(programs)]
    for manifest in MANIFESTS:
        if manifest.component == component.name and source is not None:
            shutil.copyfile(source.directory / manifest.source, made / manifest.name)
    kept = bench.cache.keep(name, key, made, {"modules": modules, "go": go.version})
    size = sum(program.stat().st_size for program in kept.directory.iterdir()) >> 20
    bench.console.print(f"[green]✓[/] {component.name} {version} {size} MiB  {time.monotonic() - started:.0f} s")
    return kept


def pack_image(
    image: Image, pins: Pins, arch: str, have: Kept, work: Path, out: Path, *, userland: Blob | None = None
) -> dict[str, Any]:
    """Write the image below ``out``, above ``userland`` if it is one that needs it; its entry in the manifest."""
    if image.userland and userland is None:
        raise ValueError(f"image {image.name}: must be given a userland; got none")
    path = f"images/{image.name}.tar"
    reference = reference_of(image, pins.components)
    entries = [Entry(image.inside, have.path(image.program))]
    if not image.userland:
        entries.append(Entry("tmp", mode=0o1777))
    own = write_layer(work / "layer.tar", entries, EPOCH)
    below = [userland, own] if userland is not None and image.userland else [own]
    labels = {
        "org.opencontainers.image.title": image.name,
        "org.opencontainers.image.version": pins.components[image.component],
    }
    config = ImageConfig((image.inside,), arch, EPOCH, labels=labels)
    digest = write_image(out / path, reference, below, config)
    return {
        "path": path,
        "component": image.component,
        "reference": reference,
        "digest": digest,
        "on": list(image.on),
    }


def explain(error: CommandFailed, component: Component, log: Path, work: Path) -> LabError:
    """The same failure with what to do about it."""
    text = error.message
    if "no space left on device" in text.lower() or shutil.disk_usage(work).free >> 20 < 100:
        return LabError(
            f"{component.name}: the disk is full (log: {log})", "make room: Go's build cache needs some GiB"
        )
    if "signal: killed" in text:
        error.hint = "the compiler or the linker was killed, mostly for memory: linking the kubelet needs about 2 GiB"
    elif "dial tcp" in text or "no such host" in text or "403 Forbidden" in text:
        return ModulesUnavailable(
            text, "the Go module proxy was not reached or refused: see `go env GOPROXY`; what is done is kept"
        )
    elif "404 Not Found" in text or "410 Gone" in text or "version is not available" in text:
        return ModulesUnavailable(
            f"a module of {component.name} cannot be had from the Go module proxy:\n{text}",
            "name a proxy that has it: see `go env GOPROXY`; what is done is kept",
        )
    else:
        error.hint = f"the whole output is in {log}; what is done is kept: run it again to go on"
    return error

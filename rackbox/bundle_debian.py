"""What a bundle has of Debian: the userland of images, and Docker Engine. Packages are fetched and unpacked, not
installed, by the same means for both, and kept in the builder's cache.

Entry points: ``take_userland``, ``take_docker``, ``docker_files``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rackbox.bundle_cache import Kept, digest_of
from rackbox.bundle_parts import Bench, Parts
from rackbox.bundle_recipe import DOCKER, DOCKER_PROGRAMS, NODES, SUITE, USERLAND
from rackbox.bundle_sbom import deb_part
from rackbox.errors import CommandFailed, LabError, MissingTool
from rackbox.oci import Entry, layer_from_tree
from rackbox.packer import apart
from rackbox.run import run

EPOCH = 0
"""The time of every file in an image: what is the same must come out the same."""
RECIPE = 1
"""To be raised when the same inputs are to be built in another way: the cache is asked by it, too."""
TREE_S = 900.0
LEFT_OUT = (
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/locale/",
    "usr/share/info/",
    "usr/share/lintian/",
    "var/",
    "dev/",
)
_ALTERNATIVES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


def take_userland(bench: Bench, keys: dict[str, str]) -> Kept:
    """Debian's packet filters and their libraries as a layer: no package manager in an image. ``keys`` gets the name
    and the key that the cache knows it by."""
    name, key = f"userland-{bench.arch}", digest_of(RECIPE, SUITE, USERLAND, bench.arch)
    keys[name] = key
    if (found := bench.cache.find(name, key)) is not None:
        return found
    started = time.monotonic()
    made, tree = _fetch_tree(bench, "userland", USERLAND)
    packages = packages_in(tree)
    layer_from_tree(made / "layer.tar", tree, userland_entries(), EPOCH, LEFT_OUT)
    tree.unlink()
    kept = bench.cache.keep(name, key, made, {"packages": packages})
    _say(bench, f"{len(packages)} packages", started)
    return kept


def take_docker(bench: Bench, keys: dict[str, str]) -> Kept:
    """Docker Engine's programs. What they need of libraries and beside them (runc, a packet filter) is in the boxes."""
    packages = tuple(dict.fromkeys(program.package for program in DOCKER_PROGRAMS))
    recipe = [(program.package, program.source, program.name) for program in DOCKER_PROGRAMS]
    name, key = f"{DOCKER}-{bench.arch}", digest_of(RECIPE, SUITE, recipe, bench.arch)
    keys[name] = key
    if (found := bench.cache.find(name, key)) is not None:
        return found
    started = time.monotonic()
    try:
        made, tree = _fetch_tree(bench, DOCKER, packages)
    except (CommandFailed, MissingTool) as error:
        error.message = f"Docker Engine ({', '.join(packages)} of Debian {SUITE}) cannot be had:\n{error.message}"
        error.hint = error.hint or f"is there a way to Debian's mirror, and does apt know its keys? see {bench.log}"
        raise
    held = [package for package in packages_in(tree) if package["name"] in packages]
    _unpack(tree, {program.source: made / program.name for program in DOCKER_PROGRAMS})
    tree.unlink()
    kept = bench.cache.keep(name, key, made, {"packages": held, "version": docker_version(held)})
    _say(bench, f"Docker Engine {kept.notes['version']}", started)
    return kept


def docker_version(packages: Sequence[Mapping[str, str]]) -> str:
    """What the engine's package says that it is, whole: ``26.1.5+dfsg1-9+deb13u1``."""
    engine = DOCKER_PROGRAMS[0].package
    return next(package["version"] for package in packages if package["name"] == engine)


def docker_files(parts: Parts, docker: Kept, out: Path) -> None:
    """Put the engine's programs into the bundle in ``out``, and its packages into the bill of materials."""
    for program in DOCKER_PROGRAMS:
        shutil.copyfile(docker.path(program.name), out / program.path)
        (out / program.path).chmod(0o755)
        entry = {"path": program.path, "component": DOCKER, "mode": "0755", "install": program.install}
        parts.files.append({**entry, "on": list(NODES)})
    parts.versions[DOCKER] = docker.notes["version"]
    parts.materials += [deb_part(package, SUITE) for package in docker.notes["packages"]]


def userland_entries() -> list[Entry]:
    """What the packages' own scripts would have made: the links that Debian's alternatives are, and /tmp."""
    links = [Entry(f"usr/sbin/{name}", link="xtables-nft-multi") for name in _ALTERNATIVES]
    links += [Entry(name, link=f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")]
    links += [Entry(f"usr/bin/{name}", link="busybox") for name in ("cp", "sh", "ls", "cat")]
    return [*links, Entry("tmp", mode=0o1777), Entry("run"), Entry("var/run", link="/run")]


def packages_in(tree: Path) -> list[dict[str, str]]:
    """The .deb files that mmdebstrap has left in a tree: name, version, architecture, SHA-256."""
    found = []
    with tarfile.open(tree) as archive:
        for member in archive.getmembers():
            directory, _, file = member.name.rpartition("/")
            if member.isfile() and directory.endswith("var/cache/apt/archives") and file.endswith(".deb"):
                content = archive.extractfile(member)
                assert content is not None
                package, version, arch = file.removesuffix(".deb").split("_")
                sha256 = hashlib.sha256(content.read()).hexdigest()
                version = version.replace("%3a", ":")
                found.append({"name": package, "version": version, "architecture": arch, "sha256": sha256})
    if not found:
        raise LabError(f"{tree}: no packages in it", "is mmdebstrap older than 1.0?")
    return sorted(found, key=lambda package: package["name"])


def _fetch_tree(bench: Bench, what: str, packages: Sequence[str]) -> tuple[Path, Path]:
    """An empty directory for what is made, and a root file system (a tar file) with the packages unpacked in it."""
    made = bench.work / what
    made.mkdir()
    tree = bench.work / f"{what}.tar"
    argv = ["mmdebstrap", "--variant=extract", f"--architectures={bench.arch}", "--format=tar", "--skip=cleanup/apt"]
    argv += ["--skip=essential/unlink", f"--include={','.join(packages)}", SUITE, str(tree)]
    environment = {**os.environ, "TMPDIR": str(bench.work), "SOURCE_DATE_EPOCH": str(EPOCH)}
    run([*apart(), *argv], timeout=TREE_S, env=environment, log=bench.log)
    return made, tree


def _unpack(tree: Path, wanted: Mapping[str, Path]) -> None:
    """Copy files out of a root file system; raises ``LabError`` unless all are there."""
    missing = dict(wanted)
    with tarfile.open(tree) as archive:
        for member in archive:
            target = missing.get(member.name.removeprefix("./"))
            if target is None or not member.isfile():
                continue
            content = archive.extractfile(member)
            assert content is not None
            with content, target.open("wb") as stream:
                shutil.copyfileobj(content, stream)
            del missing[member.name.removeprefix("./")]
    if missing:
        raise LabError(f"Debian {SUITE}: must have {', '.join(sorted(missing))} in its packages; got none")


def _say(bench: Bench, what: str, started: float) -> None:
    bench.console.print(f"[green]✓[/] {what} of Debian {SUITE}  {time.monotonic() - started:.0f} s")

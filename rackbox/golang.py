"""The Go toolchain: found, asked, and made to build pinned modules into static programs.

Entry points: ``find_go``, ``check_go``, ``build_programs``. Modules come through the ordinary client, checked against
the go.sum that stands beside each go.mod; nothing is written into those.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackbox.errors import LabError, MissingTool
from rackbox.run import run
from rackbox.tools import Check

HOW_TO_GET = (
    "a release from go.dev/doc/install, unpacked to /usr/local with /usr/local/go/bin in PATH; or as root: "
    "apt-get install golang-go, which is enough from 1.21 on if it may fetch newer ones (GOTOOLCHAIN=auto)"
)
COMPILER_FIX = "for a bundle of Kubernetes, as root: apt-get install --no-install-recommends gcc libc6-dev"
SWITCHES = (1, 21)
"""The first Go that fetches the toolchain that a go.mod asks for by itself."""
ASK_S = 120.0
BUILD_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Go:
    """The toolchain that builds a module: ``version`` as ``go1.26.8``."""

    version: str


@dataclass(frozen=True, slots=True)
class Module:
    """A module that is linked in. ``checksum`` is the go.sum's (``h1:…``), empty for ours."""

    path: str
    version: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Source:
    """A pinned module on disk: where it was unpacked, and when it was published (RFC 3339, empty if not known)."""

    directory: Path
    time: str


def go_directive(module: Path) -> tuple[int, ...]:
    """The least Go that a directory's go.mod asks for: ``(1, 26, 0)``."""
    match = re.search(r"^go (\d+(?:\.\d+)*)$", (module / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    return _numbers(match[1]) if match else (1, 0, 0)


def required_version(module: Path, path: str) -> str:
    """The version (without ``v``) that a directory's go.mod requires of the module ``path``; empty if it does not."""
    text = (module / "go.mod").read_text(encoding="utf-8")
    match = re.search(rf"^(?:require|\t)\s*{re.escape(path)} v(\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def check_go(least: tuple[int, ...]) -> Check:
    """Whether the ``go`` on PATH can build modules that ask for ``least``, by itself or with a toolchain it fetches."""
    need = f"{'.'.join(map(str, least))} or newer"
    try:
        answer = run(["go", "env", "GOVERSION", "GOTOOLCHAIN"], timeout=ASK_S, cwd=Path("/")).stdout.split()
    except LabError as error:
        found = "not found" if isinstance(error, MissingTool) else error.message.splitlines()[0]
        return Check("go", False, found, need, fix=HOW_TO_GET, required=False)
    version, toolchain = (*answer, "", "")[:2]
    numbers = _numbers(version.removeprefix("go"))
    enough = numbers >= least or (numbers >= SWITCHES and not toolchain.startswith("local"))
    note = "" if numbers >= least or not enough else ", which fetches a newer one when asked to build"
    return Check("go", enough, version + note, need, fix="" if enough else HOW_TO_GET, required=False)


def check_compiler() -> Check:
    """Whether C can be compiled into a static program: flannel has some."""
    program = os.environ.get("CC") or "gcc"
    there = shutil.which(program.split()[0]) is not None
    return Check(
        "C compiler", there, program if there else "not found", "gcc and libc6-dev", COMPILER_FIX, required=False
    )


def find_go(module: Path) -> Go:
    """The toolchain that builds a directory's module; raises ``MissingTool`` without one that can."""
    check = check_go(go_directive(module))
    if not check.ok:
        raise MissingTool(f"go: {check.found}; building {module.name} needs {check.need}", check.fix)
    return Go(run(["go", "env", "GOVERSION"], timeout=ASK_S, cwd=module, env=_environment("")).stdout.strip())


def find_source(module: Path, path: str, log: Path) -> Source:
    """Fetch a pinned module, unless it is there."""
    run(["go", "mod", "download", path], timeout=BUILD_S, cwd=module, env=_environment(""), log=log)
    answer = run(["go", "list", "-m", "-json", path], timeout=ASK_S, cwd=module, env=_environment(""))
    document: dict[str, Any] = json.loads(answer.stdout)
    return Source(Path(document["Dir"]), str(document.get("Time", "")))


def build_programs(
    module: Path,
    packages: Sequence[str],
    target: Path,
    *,
    arch: str,
    stamps: Mapping[str, str],
    tags: Sequence[str],
    log: Path,
    compiler: bool = False,
) -> None:
    """Build the packages' programs, static and without paths of this computer, into the directory ``target``.

    With ``compiler`` C in them is built by gcc, or by what $CC names.
    """
    flags = ["-s", "-w", *(f"-X={name}={value}" for name, value in stamps.items())]
    if compiler:
        flags += ["-linkmode=external", "-extldflags=-static"]
    argv = ["nice", "-n", "10", "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
    argv += [f"-tags={','.join(tags)}", f"-ldflags={' '.join(flags)}", "-o", f"{target}/", *packages]
    environment = {**_environment(arch), **({"CGO_ENABLED": "1"} if compiler else {})}
    run(argv, timeout=BUILD_S, cwd=module, env=environment, log=log)


def output_name(package: str) -> str:
    """What `go build` calls a package's program: its last part that is not a major version."""
    parts = package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) and len(parts) > 1 else parts[-1]


def modules_of(programs: Sequence[Path]) -> tuple[Module, ...]:
    """The modules that the linker put into programs, sorted; ours and Go's own library are not among them."""
    answer = run(["go", "version", "-m", "-json", *map(str, programs)], timeout=ASK_S, cwd=Path("/")).stdout
    return parse_build_info(answer)


def parse_build_info(answer: str) -> tuple[Module, ...]:
    """What `go version -m -json` prints: one document after another."""
    decoder, rest, found = json.JSONDecoder(), answer.strip(), set()
    while rest:
        document, end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
        for dependency in document.get("Deps") or []:
            used = dependency.get("Replace") or dependency
            found.add(Module(used["Path"], used.get("Version", ""), used.get("Sum", "")))
    return tuple(sorted(found, key=lambda module: (module.path, module.version)))


def _environment(arch: str) -> dict[str, str]:
    """Ours decides how is built: what a user has set for his own work must not change a bundle."""
    mine = {"CGO_ENABLED": "0", "GOOS": "linux", "GOFLAGS": "", "GOWORK": "off", "GOEXPERIMENT": ""}
    return {**os.environ, **mine, **({"GOARCH": arch} if arch else {})}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])

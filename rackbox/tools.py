"""What must be there before the first slow step: programs with their versions, packages, privileges, room.

Entry points: ``run_checks(provider)`` looks, ``check_tools(provider)`` looks and raises one ``MissingTool`` that lists
*all* that is missing. A provider registers its checks as one entry of ``rackbox.capabilities.CHECKS``. The packages
stand in ``packaging/apt/*.txt``, which ``./lab`` reads, too.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rackbox.errors import LabError, MissingTool
from rackbox.paths import PROJECT, Home, find_home
from rackbox.run import run

BACKPORTS = "/bookworm-backports"
"""What follows a package's name, as apt-get(8) has it, that Debian 12 has in its backports only, or too old without."""
VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ``fix`` says how to get it; ``package`` is the Debian 12 package that brings it.

    With ``required`` false it is told, and nothing depends on it.
    """

    name: str
    ok: bool
    found: str
    need: str
    fix: str = ""
    package: str = ""
    required: bool = True


Probe = Callable[[], Check]


@dataclass(frozen=True, slots=True)
class Package:
    """A line of ``packaging/apt/*.txt``: ``probe`` is a command, or a path (``*`` allowed) that the package brings.

    ``name`` may end in ``/suite``, as apt-get(8) takes it: the package of another suite than the release's own.
    """

    name: str
    probe: str
    why: str

    def is_there(self) -> bool:
        return bool(glob.glob(self.probe)) if self.probe.startswith("/") else shutil.which(self.probe) is not None


@dataclass(frozen=True, slots=True)
class Release:
    """The running distribution, as in os-release(5): ``debian`` ``12``."""

    id: str
    version: str
    name: str
    like: tuple[str, ...] = ()

    @property
    def is_debian_12(self) -> bool:
        return (self.id, self.version) == ("debian", "12")

    @property
    def has_apt(self) -> bool:
        return bool({self.id, *self.like} & {"debian", "ubuntu"})


def read_table(name: str, project: Path = PROJECT) -> list[list[str]]:
    """The lines of ``packaging/apt/<name>.txt``, split into at most three columns."""
    text = (project / "packaging" / "apt" / f"{name}.txt").read_text(encoding="utf-8")
    return [line.split(None, 2) for line in text.splitlines() if line.strip()]


def load_packages(need: str, project: Path = PROJECT) -> tuple[Package, ...]:
    return tuple(Package(*row) for row in read_table(need, project))


def load_elsewhere(home: Home, project: Path = PROJECT) -> dict[str, str]:
    """Where to get what some distributions do not package, by package."""
    rows = (
        line.split(None, 1)
        for line in (project / "packaging/apt/elsewhere.txt").read_text(encoding="utf-8").splitlines()
        if line.strip()
    )
    return {name: text.replace("{vagrant_home}", str(home.vagrant)) for name, text in rows}


def parse_release(text: str) -> Release:
    """The content of an os-release file."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    values = {key: value.strip().strip("'\"") for key, value in pairs}
    return Release(
        values.get("ID", "unknown"),
        values.get("VERSION_ID", ""),
        values.get("PRETTY_NAME") or values.get("ID") or "an unknown system",
        tuple(values.get("ID_LIKE", "").split()),
    )


def find_release() -> Release:
    try:
        values = platform.freedesktop_os_release()
    except OSError:
        return parse_release("")
    return parse_release("\n".join(f"{key}={value}" for key, value in values.items()))


def find_user_home() -> Home:
    return find_home(os.environ, Path.home(), os.geteuid())


def parse_version(text: str) -> tuple[int, ...] | None:
    """The first dotted number in what a program says of itself: ``Packer v1.6.6`` → ``(1, 6, 6)``; None without one."""
    match = re.search(r"(?<![\w.])v?(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def check_version(
    package: str, argv: Sequence[str], least: tuple[int, ...], says: str = "", env: Mapping[str, str] | None = None
) -> Check:
    """Ask a program for its version. ``says`` must be in the answer: another program may have the same name."""
    want = ".".join(str(part) for part in least)
    need = f"{want} or newer"
    try:
        result = run(argv, timeout=VERSION_TIMEOUT_S, check=False, env={**os.environ, **(env or {})})
    except LabError as error:
        found = "not found" if isinstance(error, MissingTool) else error.message.splitlines()[0]
        return Check(package, False, found, need, package=package)
    answer = (result.stdout + result.stderr).strip()
    first = answer.splitlines()[0] if answer else ""
    version = parse_version(answer)
    if not result.ok or version is None or says.lower() not in answer.lower():
        found = f"`{' '.join(argv)}` said {first!r} (exit {result.returncode})"
        return Check(package, False, found, need, package=package)
    return Check(package, version >= least, ".".join(map(str, version)), need, package=package)


def check_package(package: Package) -> Check:
    there = package.is_there()
    return Check(
        package.name.split("/")[0], there, "there" if there else "not found", package.why, package=package.name
    )


def run_probes(probes: Iterable[Probe]) -> list[Check]:
    """All checks at once, in the order given: most of them only wait for a program."""
    probes = list(probes)
    with ThreadPoolExecutor(max_workers=max(1, len(probes))) as pool:
        return list(pool.map(lambda probe: probe(), probes))


def run_checks(provider: str) -> list[Check]:
    """Every check of a provider. Raises ``LabError`` for one that is not known."""
    from rackbox.capabilities import CHECKS

    if provider not in CHECKS:
        raise LabError(f"no such provider: {provider}", f"known: {', '.join(sorted(CHECKS))}")
    return run_probes(CHECKS[provider])


def check_build_tools(provider: str) -> list[Check]:
    """The preflight of building a box for ``provider``; raises one ``MissingTool`` with all that is missing."""
    from rackbox.capabilities import BUILD_CHECKS

    return _require(run_probes(BUILD_CHECKS[provider]), f"a box for {provider} cannot be built here:")


def can_run(checks: Iterable[Check]) -> bool:
    return all(check.ok for check in checks if check.required)


def works(provider: str) -> bool:
    """Whether a provider runs here, found out by its checks."""
    return can_run(run_checks(provider))


def check_tools(provider: str) -> list[Check]:
    """The preflight: all checks of ``provider``; raises one ``MissingTool`` with all that fails and how to mend it."""
    return _require(run_checks(provider), f"the {provider} provider cannot run here:")


def _require(checks: list[Check], title: str) -> list[Check]:
    failed = [check for check in checks if check.required and not check.ok]
    if failed:
        lines = [f"  {check.name}: {check.found}; needs {check.need}" for check in failed]
        hint = "\n        ".join(how_to_fix(failed, find_release(), find_user_home()))
        raise MissingTool("\n".join([title, *lines]), hint)
    return checks


def apt_commands(packages: Sequence[str]) -> str:
    """What installs ``packages``; those of another suite first, with what they need from there, which apt-get(8) does
    not find for ``package/suite`` alone."""
    groups: dict[str, list[str]] = {}
    for name, _, suite in sorted((package.partition("/") for package in packages), key=lambda parts: not parts[2]):
        groups.setdefault(f"--target-release={suite} " if suite else "", []).append(name)
    install = "apt-get install --no-install-recommends"
    return " && ".join(
        ["apt-get update", *(f"{install} {option}{' '.join(names)}" for option, names in groups.items())]
    )


def how_to_fix(checks: Iterable[Check], release: Release, home: Home) -> list[str]:
    """One line for all that apt can bring, then one for each thing that needs something else."""
    failed = [check for check in checks if not check.ok]
    wanted = list(dict.fromkeys(check.package for check in failed if check.package))
    elsewhere = {}
    if not release.is_debian_12:  # whose packages need no other suite than the release's own
        elsewhere = load_elsewhere(home)
        wanted = [name.split("/")[0] for name in wanted]
    packaged = [name for name in wanted if name not in elsewhere]
    lines = []
    if suites := sorted({name.split("/")[1] for name in packaged if "/" in name}):
        lines.append(f"Debian's {', '.join(suites)} must be among apt's sources; `./lab up --provider libvirt` adds it")
    if packaged and release.has_apt:
        untried = "" if release.is_debian_12 else f"   (names as in Debian 12, not tried on {release.name})"
        lines.append(f"as root: {apt_commands(packaged)}{untried}")
    elif packaged:
        lines.append(f"install what brings these Debian packages' programs on {release.name}: {' '.join(packaged)}")
    lines += [f"{name}: {elsewhere[name]}" for name in wanted if name in elsewhere]
    lines += [f"{check.name}: {check.fix}" for check in failed if check.fix]
    return lines

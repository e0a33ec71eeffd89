"""`bundle`, `bundle.list` and `bundle.check`. Entry points: one ``…_command`` for each, ``command`` for the first."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from rackbox.bundle import (
    Bundle,
    find_bundle,
    kept_roots,
    list_bundles,
    machine_arch,
    name_bundle,
    read_bundle,
    runtimes_of,
)
from rackbox.bundle_check import check_bundle
from rackbox.bundle_pins import load_pins
from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, LabError
from rackbox.paths import Home
from rackbox.show import write_json
from rackbox.tools import find_user_home

LIST_SCHEMA = 1
SOURCES = ("go", "upstream", "packages")


def command(source: str, minor: str, sources: str, docker: bool) -> int:
    """Make a bundle for this computer's architecture, with ``docker`` one for the runtime docker, too."""
    if source not in SOURCES:
        raise LabError(f"--from: must be one of {', '.join(SOURCES)}; got {source}")
    if sources and source == "go":
        raise LabError(
            "--sources: is for --from upstream and --from packages",
            "GOPROXY says where modules come from: see `go help environment`",
        )
    home, pins, console = find_user_home(), load_pins(minor), open_console(stderr=True)
    if source == "go":
        from rackbox.bundle_build import build_from_go

        bundle = build_from_go(home, pins, machine_arch(), console, docker=docker)
    else:
        from rackbox.bundle_upstream import build_from_upstream, load_sources

        where = load_sources(Path(sources) if sources else None)
        packages = source == "packages"
        bundle = build_from_upstream(home, pins, machine_arch(), where, console, packages=packages, docker=docker)
    print(bundle.root)
    return EXIT_OK


def list_command(as_json: bool) -> int:
    """Every version, newest last, and what is wrong with one that cannot be read."""
    home = find_user_home()
    rows, problems = describe(list_bundles(home), datetime.now(UTC)), unreadable(home)
    if as_json:
        write_json({"schema": LIST_SCHEMA, "bundles": rows, "problems": problems}, None)
        return EXIT_OK
    console = open_console()
    if not rows:
        console.print("no Kubernetes bundle yet: `./lab bundle` makes one")
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("version", "kubernetes", "from", "age", "size", "programs", "images", "runtimes"):
            table.add_column(name, justify="left" if name in ("version", "from", "runtimes") else "right")
        for row in rows:
            cells = (
                row["version"],
                row["kubernetes"],
                row["from"],
                f"{row['age_s'] // 3600} h",
                f"{row['size'] >> 20} MiB",
            )
            table.add_row(*cells, str(row["programs"]), str(row["images"]), ", ".join(row["runtimes"]))
        console.print(table)
    for problem in problems:
        console.print(problem, markup=False, soft_wrap=True)
    return EXIT_OK


def check_command(wanted: str) -> int:
    """Raise ``LabError`` for the first thing that is wrong."""
    found = _find(find_user_home(), wanted)
    started = time.monotonic()
    check_bundle(found, arch=found.arch, stacked_etcd=True)
    open_console(stderr=True).print(
        f"[green]✓[/] bundle {found.version}: {len(found.parts)} files, {found.size >> 20} MiB, all as they must be  "
        f"{time.monotonic() - started:.1f} s"
    )
    return EXIT_OK


def save_command(target: Path | None, wanted: str) -> int:
    """Write the archive, and say how big it is."""
    from rackbox.bundle_archive import save_bundle

    if target is None:
        raise LabError("TO: must be a file; got nothing")
    bundle = _find(find_user_home(), wanted)
    save_bundle(bundle, target)
    size = target.stat().st_size >> 20
    open_console(stderr=True).print(f"[green]✓[/] {target}: bundle {bundle.version}, {size} MiB", soft_wrap=True)
    return EXIT_OK


def load_command(file: str) -> int:
    """Print where the bundle is now."""
    from rackbox.bundle_archive import load_bundle

    bundle = load_bundle(find_user_home(), Path(file))
    open_console(stderr=True).print(f"[green]✓[/] bundle {bundle.version} is there")
    print(bundle.root)
    return EXIT_OK


def _find(home: Home, wanted: str) -> Bundle:
    found = name_bundle(home, wanted) if wanted else find_bundle(home)
    if found is None:
        raise LabError("no Kubernetes bundle yet", "`./lab bundle` makes one")
    return found


def describe(bundles: tuple[Bundle, ...], now: datetime) -> list[dict[str, Any]]:
    """One row a bundle."""
    return [
        {
            "version": bundle.version,
            "kubernetes": bundle.kubernetes,
            "arch": bundle.arch,
            "from": bundle.source,
            "built": bundle.built.isoformat(timespec="seconds"),
            "age_s": round((now - bundle.built).total_seconds()),
            "size": bundle.size,
            "programs": len(bundle.files),
            "images": len(bundle.images),
            "runtimes": list(runtimes_of(bundle.components)),
            "components": dict(bundle.components),
            "directory": str(bundle.root),
        }
        for bundle in bundles
    ]


def unreadable(home: Home) -> list[str]:
    """What is wrong with each bundle whose manifest cannot be used."""
    problems = []
    for root in kept_roots(home.bundles):
        try:
            read_bundle(root)
        except LabError as error:
            problems.append(error.message)
    return problems

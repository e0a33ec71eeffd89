"""The boxes as a person sees them: `image.list`, `image.diff`, `image.rollback`, `image.prune`.

Entry points: one ``…_command`` for each, which prints and gives an exit code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from rackbox.budgets import BUDGETS_MS
from rackbox.builders import builder
from rackbox.catalogue import BoxVersion, find_version, list_versions, read_json, roll_back
from rackbox.changes import SECURITY, compare_manifests
from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK
from rackbox.image import check_request
from rackbox.prune import find_users, prune
from rackbox.show import write_json
from rackbox.tools import find_user_home

SCHEMA = 1
_OUTAGE = "_ms"
"""What the gate's figures of a scenario's outage end with."""
_STYLES = {"current": "green", "failed": "red", "candidate": "yellow", "withdrawn": "dim"}


def list_command(os_name: str, provider: str, as_json: bool) -> int:
    """Every version, newest last."""
    home, provider = find_user_home(), check_request(os_name, provider)
    rows = describe(list_versions(home, os_name, provider), find_users(home), datetime.now(UTC))
    if as_json:
        write_json({"schema": SCHEMA, "os": os_name, "provider": provider, "versions": rows}, None)
    else:
        print_list(rows, os_name, provider, open_console())
    return EXIT_OK


def describe(versions: Sequence[BoxVersion], users: Mapping[str, Sequence[str]], now: datetime) -> list[dict[str, Any]]:
    """One row a version. ``changes`` counts what differs from the last good one before it, null for the first;
    ``figures`` are what the gate measured of it, if it was put to one."""
    rows: list[dict[str, Any]] = []
    before: dict[str, Any] | None = None
    for item in versions:
        manifest = read_json(item.box.manifest)
        lines = compare_manifests(before, manifest) if before is not None else None
        rows.append(
            {
                "version": item.version,
                "state": item.state,
                "reason": item.reason,
                "built": item.built.isoformat(timespec="seconds"),
                "age_s": round((now - item.built).total_seconds()),
                "size": item.size,
                "sha256": item.box.sha256,
                "changes": len(lines) if lines is not None else None,
                "security": sum(line.endswith(SECURITY) for line in lines) if lines is not None else None,
                "labs": list(users.get(item.version, ())),
                "figures": read_json(item.logs / "gate.json").get("figures") or {},
                "box": str(item.box.path),
            }
        )
        if item.state in ("current", "kept", "withdrawn"):
            before = manifest
    return rows


def diff_command(os_name: str, provider: str, old: str, new: str, as_json: bool) -> int:
    """What changed from one version to another."""
    home, provider = find_user_home(), check_request(os_name, provider)
    versions = [find_version(home, os_name, provider, name) for name in (old, new)]
    lines = compare_manifests(*(read_json(item.box.manifest) for item in versions))
    if as_json:
        document = {"schema": SCHEMA, "old": versions[0].version, "new": versions[1].version, "changes": list(lines)}
        write_json(document, None)
        return EXIT_OK
    console = open_console()
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if not lines:
        console.print(f"{versions[0].version} and {versions[1].version} hold the same")
    return EXIT_OK


def rollback_command(os_name: str, provider: str, version: str) -> int:
    """The version before, or ``version``, is current again; the next `up` of a lab that is down takes it."""
    home, provider = find_user_home(), check_request(os_name, provider)
    with builder(home, os_name):
        item = roll_back(home, os_name, provider, version)
    open_console(stderr=True).print(f"[green]✓[/] box {item.box.name} {item.version} is current")
    return EXIT_OK


def prune_command(os_name: str, provider: str, keep: int, dry_run: bool) -> int:
    """Say what goes, with its size."""
    home, provider = find_user_home(), check_request(os_name, provider)
    gone = prune(home, os_name, provider, keep, dry_run=dry_run)
    console = open_console(stderr=True)
    for item in gone:
        console.print(f"{'would remove' if dry_run else 'removed'} {item.what}  {_mib(item.size)}", soft_wrap=True)
    total = _mib(sum(item.size for item in gone))
    console.print(f"{total} {'to be freed' if dry_run else 'freed'}" if gone else "nothing to remove")
    return EXIT_OK


def print_list(rows: Sequence[Mapping[str, Any]], os_name: str, provider: str, console: Console) -> None:
    """What ``describe`` found, with a column for each scenario that a gate measured."""
    if not rows:
        asked = f"--os {os_name} --provider {provider}"
        console.print(f"no box of {os_name} for {provider} yet: `./lab image {asked}` builds one", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    measured = [f"{name}{_OUTAGE}" for name in BUDGETS_MS if any(f"{name}{_OUTAGE}" in row["figures"] for row in rows)]
    for column in (
        "version",
        "state",
        "age",
        "size",
        "changes",
        *(name.removesuffix(_OUTAGE) for name in measured),
        "labs",
    ):
        table.add_column(column, justify="left" if column in ("version", "state", "labs") else "right", overflow="fold")
    for row in rows:
        changes = "" if row["changes"] is None else str(row["changes"])
        if row["security"]:
            changes += f" ({row['security']} security)"
        style = _STYLES.get(row["state"], "")
        state = f"[{style}]{row['state']}[/]" if style else row["state"]
        outages = [f"{row['figures'][name]:.0f} ms" if name in row["figures"] else "" for name in measured]
        cells = [row["version"], state, _age(row["age_s"]), _mib(row["size"]), changes, *outages]
        table.add_row(*cells, ", ".join(row["labs"]))
    console.print(table)
    for row in rows:
        if row["reason"]:
            console.print(f"{row['version']}: {row['reason']}", markup=False, soft_wrap=True)


def _age(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"

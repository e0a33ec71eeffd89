"""``invoke doctor``: what this computer can run, what is missing, and how to get it.

Entry point: ``command``. It only looks: nothing is installed, started or left behind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rackbox.capabilities import NOTES, check_python, existing_directory
from rackbox.config import load_config
from rackbox.consoles import open_console
from rackbox.errors import EXIT_COULD_NOT_RUN, EXIT_OK, LabError
from rackbox.lab_needs import check_lab
from rackbox.load import load_topology
from rackbox.providers import UNASKED
from rackbox.tools import Check, Release, can_run, find_release, find_user_home, how_to_fix, run_checks, run_probes


def command(provider: str, as_json: bool, lab_file: Path) -> int:
    """Look, tell, and return 0 if ``provider`` can run here, 3 if not. What the lab of ``lab_file`` needs is told; it
    names the provider, too, where the caller does not."""
    provider = provider or _provider_of(lab_file)
    checks = [check_python(), *run_checks(provider), *run_probes(NOTES.get(provider, ())), *_of_lab(lab_file, provider)]
    release = find_release()
    fixes = how_to_fix(checks, release, find_user_home())
    if as_json:
        print(json.dumps(doctor_json(provider, release, checks, fixes), indent=2))
    else:
        print_doctor(provider, release, checks, fixes, open_console())
    return EXIT_OK if can_run(checks) else EXIT_COULD_NOT_RUN


def _provider_of(lab_file: Path) -> str:
    try:
        named = load_config(lab_file).provider
    except LabError:  # told further down, with the rest
        named = "auto"
    return UNASKED if named == "auto" else named


def _of_lab(lab_file: Path, provider: str) -> list[Check]:
    """A file that cannot be read is told like all else: whoever asks may have come for that very reason."""
    try:
        topology = load_topology(lab_file)
    except LabError as error:
        first = error.message.splitlines()[0]
        return [Check("lab", False, first, "a lab's file", "`./lab plan` says all of it", required=False)]
    return check_lab(topology, provider, existing_directory(find_user_home().data))


def doctor_json(provider: str, release: Release, checks: Sequence[Check], fixes: Sequence[str]) -> dict[str, Any]:
    """What ``--json`` prints. ``package`` is Debian 12's, null where none would help."""
    return {
        "provider": provider,
        "system": release.name,
        "can_run": can_run(checks),
        "checks": [
            {
                "name": check.name,
                "ok": check.ok,
                "required": check.required,
                "found": check.found,
                "need": check.need,
                "package": check.package or None,
            }
            for check in checks
        ],
        "fixes": list(fixes),
    }


def print_doctor(
    provider: str, release: Release, checks: Sequence[Check], fixes: Sequence[str], console: Console
) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "what", "found", "needs"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(_mark(check), Text(check.name), Text(check.found), Text(check.need))
    console.print(table)
    console.print()
    able = "can" if can_run(checks) else "cannot"
    console.print(f"The {provider} provider {able} run on this computer ({release.name}){':' if fixes else '.'}")
    if release.is_debian_12 and any(check.package for check in checks if not check.ok):
        console.print("  `./lab up` installs what is missing, or yourself")
    for line in fixes:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _mark(check: Check) -> Text:
    if check.required:
        return Text("✓", "green") if check.ok else Text("✗", "red")
    return Text("·", "dim") if check.ok else Text("!", "yellow")

"""`invoke image`: looks whether a box would come out other than the current one, builds it, proves it, promotes it.

Entry points: ``command``, ``rebuild``, and ``build_image`` for whoever needs a box and has none. Packer's part is in
``rackbox.build``, the proof in ``rackbox.gate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from rackbox.box import Box, check_box, current_box, promote_box
from rackbox.build import build, build_log, list_releases, recipe_digest, recipe_revision, resolve
from rackbox.builders import builder, remove_leftovers, work_directory
from rackbox.catalogue import list_versions, mark_version, read_json
from rackbox.changes import SECURITY, is_same, list_changes
from rackbox.consoles import open_console
from rackbox.errors import EXIT_FAILED, EXIT_OK, LabError
from rackbox.manifest import Resolved
from rackbox.packing import KINDS
from rackbox.paths import Home
from rackbox.providers import PROVIDERS
from rackbox.tools import check_build_tools, find_user_home

SHOWN = 20
"""Lines of changes that are printed; all of them stand in the manifests."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """What came of a rebuild. ``version`` is the current one afterwards, or the one that was refused; ``promoted`` is
    whether a new one became current; ``changes`` are lines for a person; ``log`` is the build's; ``figures`` are the
    gate's: numbers by name, ``haproxy-killed_ms``; ``problems`` is why the gate refused it."""

    changed: bool
    version: str
    promoted: bool
    changes: tuple[str, ...]
    log: Path
    figures: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def command(os_name: str, provider: str, if_changed: bool, gate: bool) -> int:
    """`invoke image`: 0 well, or nothing to do; 1 the gate refused the box, which stays beside the current one."""
    console = open_console(stderr=True)
    result = rebuild(find_user_home(), os_name, provider or "lxc", console, if_changed=if_changed, gate=gate)
    return EXIT_FAILED if result.problems else EXIT_OK


def rebuild(
    home: Home, os_name: str, provider: str, console: Console, *, if_changed: bool, gate: bool
) -> RebuildResult:
    """Build a box (with ``if_changed`` only if it would be another than the current one), prove it and promote it.

    A box that the gate refuses is told by ``promoted`` false, not by an exception: it stays, ``failed``, with its logs.
    """
    provider = check_request(os_name, provider)
    with builder(home, os_name):
        _tidy(home, os_name)
        return _rebuild(home, os_name, provider, console, if_changed=if_changed, gate=gate)


def build_image(home: Home, os_name: str, provider: str, console: Console) -> Box:
    """The current box; where there is none, one is built, after whoever else is building it. It passes no gate: the lab
    that comes up next is its proof."""
    provider = check_request(os_name, provider)
    with builder(home, os_name, wait=True):
        _tidy(home, os_name)
        if current_box(home.boxes, os_name, provider) is None:
            _rebuild(home, os_name, provider, console, if_changed=False, gate=False)
        box = current_box(home.boxes, os_name, provider)
    assert box is not None
    return box


def check_request(os_name: str, provider: str) -> str:
    """The provider to build for, ``auto`` resolved. Raises ``LabError`` for what no recipe is there for."""
    known = list_releases()
    if os_name not in known:
        raise LabError(f"os: must be one of {', '.join(known)}; got {os_name}")
    provider = "lxc" if provider == "auto" else provider
    if provider not in KINDS:
        raise LabError(f"provider: must be one of {', '.join(sorted(KINDS))}; got {provider}")
    return provider


def _rebuild(
    home: Home, os_name: str, provider: str, console: Console, *, if_changed: bool, gate: bool
) -> RebuildResult:
    current = current_box(home.boxes, os_name, provider)
    log = build_log(home, os_name, provider)
    if not (if_changed and current):
        check_build_tools(provider)  # takes longer than to see that nothing has changed
    with work_directory(home, os_name) as work:
        with ThreadPoolExecutor(max_workers=1) as pool:  # its checksum takes a second, and so does the archive's answer
            damage = pool.submit(_damage, current)
            resolved = resolve(home, os_name, provider, work, console)
        changes = _changes(current, resolved, damage.result())
        _show(changes, current, console)
        if if_changed and current and not changes:
            console.print(f"[green]✓[/] box {current.name} {current.version}: nothing changed")
            return RebuildResult(False, current.version, False, (), log)
        if if_changed and current and (same := _withdrawn(home, current, resolved)):
            console.print(f"box {current.name} would be {same} again, which was taken back: not built")
            return RebuildResult(False, current.version, False, changes, log)
        if if_changed and current:
            check_build_tools(provider)
        box = build(home, os_name, provider, resolved, work, console)
    figures: Mapping[str, float] = {}
    if gate:
        from rackbox.gate import prove

        result = prove(home, box, console)
        figures = result.figures
        if not result.ok:
            mark_version(box.path.parent, "failed", "; ".join(result.problems))
            stays = f"{current.version} stays current" if current else "there is no other"
            console.print(f"[red]✗[/] box {box.name} {box.version} was refused; {stays}", soft_wrap=True)
            console.print(f"  what was seen: {box.path.parent / 'gate'}", soft_wrap=True)
            return RebuildResult(True, box.version, False, changes, log, figures, result.problems)
    promote_box(home.boxes, box)
    console.print(f"[green]✓[/] box {box.name} {box.version} is current")
    return RebuildResult(True, box.version, True, changes, log, figures)


def _damage(box: Box | None) -> str:
    try:
        if box is not None:
            check_box(box)
    except LabError as error:
        return error.message
    return ""


def _changes(current: Box | None, resolved: Resolved, damage: str) -> tuple[str, ...]:
    """What a build now would change; a current box that cannot be booted is to be built again."""
    if current is None:
        return ()
    if damage:
        return (f"damaged  {damage}",)
    manifest, recipe = read_json(current.manifest), recipe_digest()
    revision = recipe_revision() if manifest.get("recipe") != recipe else None
    return list_changes(manifest, recipe, resolved, revision)


def _withdrawn(home: Home, current: Box, resolved: Resolved) -> str:
    """The version that was current until a rollback, if a build now would give just that one again."""
    recipe = recipe_digest()
    for item in list_versions(home, current.os, current.provider):
        if item.state == "withdrawn" and is_same(read_json(item.box.manifest), recipe, resolved):
            return item.version
    return ""


def _show(changes: Sequence[str], current: Box | None, console: Console) -> None:
    if current is None or not changes:
        return
    urgent = sum(line.endswith(SECURITY) for line in changes)
    note = f", {urgent} of them from the security archive" if urgent else ""
    console.print(f"since box {current.version}: {len(changes)} change{'s'[: len(changes) != 1]}{note}")
    for line in changes[:SHOWN]:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    if len(changes) > SHOWN:
        console.print(f"  … and {len(changes) - SHOWN} more")


def _tidy(home: Home, os_name: str) -> None:
    """What a killed builder left: the gate's machines first, which stand on its candidate."""
    if any(home.labs.glob("gate-*")) or any(home.runs.glob("gate-*")):
        from rackbox.gate import remove_gate_lab

        for provider in sorted(kind for kind in KINDS if kind in PROVIDERS):
            remove_gate_lab(home, os_name, provider, Console(quiet=True))
    remove_leftovers(home, os_name)

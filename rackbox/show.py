"""``invoke plan`` and ``invoke render``: what a lab would be, without making it. No hypervisor is asked.

Entry points: ``plan_command``, ``render_command``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from rackbox.consoles import open_console
from rackbox.errors import EXIT_OK, LabError
from rackbox.load import load_lab, settle_kubernetes
from rackbox.plan import plan_json, print_plan
from rackbox.providers import CLUSTERS, open_provider

if TYPE_CHECKING:
    from rackbox.config import Config
    from rackbox.lab import LiveLab
    from rackbox.release import Choice
    from rackbox.templating import RenderedFile
    from rackbox.topology import Topology


def plan_command(lab_file: Path, as_json: bool, out: Path | None) -> int:
    """Print the lab as tables, or as JSON; ``out`` gets the JSON in any case."""
    config, topology = load_lab(lab_file)
    topology, choice = _settle(config, topology, lab_file)
    provider = open_provider(config.provider)
    name = provider.name
    capabilities = [(item.name, item.available, item.note) for item in provider.capabilities]
    kubernetes = choice.words if choice else None
    if choice is not None and (CLUSTERS, False) in {(what, able) for what, able, _ in capabilities}:
        kubernetes = f"not with provider {name}, which has no clusters yet: boot it with --provider lxc"
    if as_json or out is not None:
        origin = {"kubernetes_source": kubernetes}
        write_json({**plan_json(topology, capabilities), "provider": name, **origin}, out)
    if not as_json:
        console = open_console()
        words = name if name == config.provider else f"{config.provider}: planned for {name}"
        print_plan(topology, console, capabilities, provider=f"provider {words}", playable=_playable(topology, name))
        if kubernetes is not None:
            console.print(f"\nKubernetes {kubernetes}", soft_wrap=True, highlight=False)
    return EXIT_OK


def _playable(topology: Topology, provider: str) -> list[str]:
    """The scenarios that this lab can play."""
    from rackbox.repertoire import list_scenarios

    return [str(row["name"]) for row in list_scenarios(topology, provider) if not row["cannot"]]


def _settle(config: Config, topology: Topology, lab_file: Path) -> tuple[Topology, Choice | None]:
    """What becomes of ``kubernetes:`` on this computer: the plan says it as `up` would do it."""
    if topology.kubernetes is None:
        return topology, None
    from rackbox.state import load_state
    from rackbox.tools import find_user_home

    home = find_user_home()
    return settle_kubernetes(config, topology, lab_file, home.bundles, load_state(home.lab(topology.lab).state))


def render_command(lab_file: Path, to: Path | None) -> int:
    """Write every file of the lab and name the directory. The lab's secrets are made if there are none."""
    from rackbox.lab import lab_lock, open_lab

    lab = open_lab(lab_file)
    directory = (to or lab.paths.rendered).absolute()
    # The lab's own directory is read by its machines as they boot: not while another command acts on it.
    with lab_lock(lab.paths) if to is None else nullcontext():
        files = _render(lab, directory)
    if lab.choice is not None and lab.choice.source == "none":
        print(f"without Kubernetes: {lab.choice.words}", file=sys.stderr)
    if others := find_others(files, directory):
        some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        print(f"not of this lab, and left as it was: {some} in {directory}", file=sys.stderr)
    print(f"{len(files)} files in {directory}")
    return EXIT_OK


def find_others(files: Iterable[str], directory: Path) -> list[str]:
    """What stands where a lab's files do and is none of them: another lab's, or of a machine that is no more. Names
    relative to ``directory``, a directory once for all in it; hidden ones are the user's own affair."""
    known = {PurePath(name) for name in files}
    parents = {parent for name in known for parent in name.parents}
    entries = (
        PurePath(parent, entry.name)
        for parent in parents
        for entry in (directory / parent).iterdir()
        if not entry.name.startswith(".")
    )
    return sorted(str(entry) for entry in entries if entry not in known | parents)


def _render(lab: LiveLab, directory: Path) -> Mapping[str, RenderedFile]:
    from rackbox.box import current_box
    from rackbox.labfiles import render_files
    from rackbox.render import write_rendered

    files = render_files(lab, current_box(lab.home.boxes, lab.topology.os, lab.provider.name), directory)
    try:
        write_rendered(files, directory)
    except OSError as error:
        raise LabError(f"{directory}: {error.strerror}", "choose another directory with --to DIR") from error
    return files


def write_json(document: Mapping[str, Any], out: Path | None) -> None:
    """The document on standard output, or in ``out``."""
    text = json.dumps(document, indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabError(f"{out}: {error.strerror}", "choose another file with --out FILE") from error

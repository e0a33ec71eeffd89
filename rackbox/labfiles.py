"""Every file of a lab, as data: what its topology, its secrets, its provider and its box come to. Entry point:
``render_files``; ``rackbox.render`` is the pure part, and writes."""

from __future__ import annotations

from pathlib import Path

from rackbox.box import Box
from rackbox.credentials import ensure_credentials
from rackbox.errors import LabError
from rackbox.hooks import load_sources
from rackbox.lab import LiveLab
from rackbox.release import read_release
from rackbox.render import BOOT_SECONDS, VagrantTarget, render_lab
from rackbox.state import LabState
from rackbox.templating import RenderedFile

_NO_STATE = LabState("", "", "")


def render_files(
    lab: LiveLab, box: Box | None, directory: Path, state: LabState | None = None
) -> dict[str, RenderedFile]:
    """All files by their path below ``directory``. Secrets that the lab lacks are made; without a box, its name alone
    stands in the Vagrantfile. ``state``: the lab's, if it is to be another than what is on disk."""
    name, version = (box.name, box.version) if box else (f"rackbox/{lab.topology.os}", "")
    patience = lab.provider.patience
    target = VagrantTarget(
        lab.provider.name, name, box_version=version, directory=directory, boot_timeout_s=round(BOOT_SECONDS * patience)
    )
    release = lab.choice.release if lab.choice else None
    if lab.choice is not None and lab.choice.to_fetch:
        raise LabError(f"lab {lab.topology.lab}: Kubernetes: {lab.choice.words}")
    state = state or lab.state or _NO_STATE
    founders = () if state.phase == "absent" else state.founders
    own = {name: read_release(Path(place)) for name, place in state.upgraded.items()}
    lines = {}
    for node in lab.topology.nodes:
        shared = own.get(node.name, release)
        directory_of = shared.directory if shared else None
        lines[node.name] = lab.provider.vagrant_settings(lab.topology, node, lab.paths, directory_of)
    credentials = ensure_credentials(lab.topology, lab.paths.secrets)
    return render_lab(lab.topology, credentials, lines, load_sources(), target, release, own, founders)

"""The small lab's Vagrantfile for each provider of virtual machines, compared with the one in ``expected/vagrant/``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rackbox.hooks import load_sources
from rackbox.kvm import Kvm
from rackbox.load import load_topology
from rackbox.paths import PROJECT, LabPaths
from rackbox.plan import plan_json
from rackbox.providers import virtualbox_settings
from rackbox.providers.libvirt import LibvirtProvider
from rackbox.render import VagrantTarget, render_lab
from tests.rendering import DIRECTORY, fake_credentials, shipped, without_hook_text

EXPECTED = Path(__file__).parent / "expected/vagrant"
PATHS = LabPaths(DIRECTORY, Path("/run/rackbox/small"), Path("/srv/runs/small"))
SETTINGS = {
    "libvirt-emulated": LibvirtProvider(Kvm(False, "no answer")).vagrant_settings,
    "libvirt-kvm": LibvirtProvider(Kvm(True, "a guest ran")).vagrant_settings,
    "virtualbox": virtualbox_settings.machine_settings,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_vagrantfile_is_as_expected(name: str, request: pytest.FixtureRequest) -> None:
    topology = shipped("small")
    target = VagrantTarget(
        name.split("-", maxsplit=1)[0], "rackbox/debian-13", box_version="20260102.1", directory=DIRECTORY
    )
    lines = {node.name: SETTINGS[name](topology, node, PATHS) for node in topology.nodes}
    files = render_lab(topology, fake_credentials(topology), lines, without_hook_text(load_sources()), target)
    text = files["Vagrantfile"].data.decode()
    path = EXPECTED / f"Vagrantfile.{name}"
    if request.config.getoption("--update-golden", default=False) and (not path.exists() or path.read_text() != text):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"{path} rewritten: look at it, then run without --update-golden")
    assert text == path.read_text(), "if the change is meant: pytest tests/golden --update-golden"


def test_two_providers_differ_in_the_vagrantfile_alone() -> None:
    """One config is one topology, and what the machines are told comes from it and from nothing else."""
    topology = shipped("small")
    rendered = []
    for settings in SETTINGS.values():
        target = VagrantTarget("same", "rackbox/debian-13", directory=DIRECTORY)
        lines = {node.name: settings(topology, node, PATHS) for node in topology.nodes}
        rendered.append(render_lab(topology, fake_credentials(topology), lines, load_sources(), target))
    first, *others = rendered
    for other in others:
        assert {name for name in first if first[name] != other[name]} == {"Vagrantfile"}
        assert first.keys() == other.keys()


def test_one_config_is_one_topology_whatever_the_provider(tmp_path: Path) -> None:
    """Byte for byte, as `plan --json` prints it; what a provider cannot do stands beside it."""
    lines = (PROJECT / "config/default.yaml").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("provider:"))
    plans = set()
    for provider in ("auto", "lxc", "libvirt", "virtualbox"):
        file = tmp_path / f"{provider}.yaml"
        file.write_text(f"{text}\nprovider: {provider}\n")
        plans.add(json.dumps(plan_json(load_topology(file), [])))
    assert len(plans) == 1

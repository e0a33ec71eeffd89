"""The rendered Vagrantfiles of both providers of virtual machines, given to Vagrant itself: it knows every setting.

Vagrant asks VirtualBox for its version alone before it validates; a script answers for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rackbox.credentials import ensure_credentials
from rackbox.hooks import load_sources
from rackbox.kvm import Kvm
from rackbox.paths import LabPaths
from rackbox.providers import virtualbox_settings
from rackbox.providers.libvirt import LibvirtProvider
from rackbox.render import VagrantTarget, render_lab, write_rendered
from rackbox.templating import VagrantSetting
from tests.rendering import shipped

SETTINGS: dict[str, Callable[..., tuple[VagrantSetting, ...]]] = {
    "libvirt-emulated": LibvirtProvider(Kvm(False, "no answer")).vagrant_settings,
    "libvirt-kvm": LibvirtProvider(Kvm(True, "a guest ran")).vagrant_settings,
    "virtualbox": virtualbox_settings.machine_settings,
}


def validate(name: str, lab: str, top: Path, *more: VagrantSetting) -> subprocess.CompletedProcess[str]:
    topology = shipped(lab)
    paths = LabPaths(top / "lab", top / "run", top / "runs")
    lines = {node.name: (*SETTINGS[name](topology, node, paths), *more) for node in topology.nodes}
    provider = name.partition("-")[0]
    target = VagrantTarget(provider, "rackbox/debian-13", box_version="1.0.0", directory=paths.rendered)
    credentials = ensure_credentials(topology, paths.secrets)
    write_rendered(render_lab(topology, credentials, lines, load_sources(), target), paths.rendered)
    programs = top / "bin"
    programs.mkdir()
    (programs / "VBoxManage").write_text("#!/bin/sh\necho 7.0.20r163906\n")
    (programs / "VBoxManage").chmod(0o755)
    env = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(top),
        "LC_ALL": "C.UTF-8",
        "VAGRANT_HOME": str(top / "vagrant"),
        "VAGRANT_DEFAULT_PROVIDER": provider,
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }
    assert shutil.which("vagrant"), "vagrant is not installed: `./lab doctor` says how to get it"
    return subprocess.run(
        ["vagrant", "validate"], cwd=paths.rendered, env=env, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lab", ["small", "default"])
@pytest.mark.parametrize("name", SETTINGS)
def test_vagrant_takes_every_line(name: str, lab: str, tmp_path: Path) -> None:
    done = validate(name, lab, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validated successfully" in done.stdout


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["libvirt-emulated", "virtualbox"])
def test_a_line_that_it_does_not_know_is_refused(name: str, tmp_path: Path) -> None:
    """What the test above would see."""
    done = validate(name, "small", tmp_path, VagrantSetting("colour=", ("red",)))
    assert done.returncode != 0
    assert "colour" in done.stdout + done.stderr

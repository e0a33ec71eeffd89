"""A lab of VirtualBox's booted, broken, changed and taken down: Vagrant, a real VBoxManage and all of rackbox, and only
what runs a machine that VirtualBox has set up is QEMU (``tests/consumer/virtualbox/emulated``), for VirtualBox's kernel
module cannot be had here. Some twenty minutes.

Needs what ``test_virtualbox.py`` needs, and a box: `./lab image --provider virtualbox`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rackbox.box import current_box, metadata_of
from rackbox.paths import PROJECT
from rackbox.providers.virtualbox import parse_info
from rackbox.tools import find_user_home
from tests.consumer.virtualbox_root import TOOLS

pytestmark = [pytest.mark.virtualbox, pytest.mark.timeout(3000, func_only=False)]
OS = "debian-13"
LAB = "vbox-life"
COURSE_SECONDS = 2700


@dataclass(frozen=True)
class Life:
    directory: Path

    def said(self, step: str, code: int = 0) -> str:
        """What a step said, which ended with ``code``."""
        text = (self.directory / f"{step}.out").read_text()
        error = (self.directory / f"{step}.err").read_text()
        assert (self.directory / f"{step}.code").read_text().strip() == str(code), f"{step}: {text}{error}"
        return text

    def verdict(self, step: str) -> dict[str, Any]:
        (row,) = json.loads(self.said(step))["scenarios"]
        return dict(row)

    def info(self, name: str) -> dict[str, str]:
        return parse_info((self.directory / name).read_text())


@pytest.fixture(scope="module")
def life(vbox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Life:
    home = find_user_home()
    box = current_box(home.boxes, OS, "virtualbox")
    if box is None:
        pytest.fail("needs a box: `./lab image --provider virtualbox`")
    top = tmp_path_factory.mktemp("virtualbox-life")
    boxes = top / "rackbox/boxes"
    catalogue = metadata_of(home.boxes, box)
    shutil.copytree(catalogue.parent, boxes / catalogue.parent.relative_to(home.boxes), copy_function=_link)
    file = top / "lab.yaml"
    text = (PROJECT / "config/vm-small.yaml").read_text()
    text = text.replace("name: vm-small", f"name: {LAB}").replace("provider: libvirt", "provider: virtualbox")
    file.write_text(text.replace("    memory: 1G\n", "    memory: 1G\n    volumes: {etcd: {size: 1G, disk: 2G}}\n"))
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
        "RACKBOX_HOME": str(top / "rackbox"),
        "VBOX_ROOT": str(vbox_root),
        "VBOX_EMULATED": str(TOOLS / "emulated"),
    }
    said = top / "said"
    said.mkdir()
    script = [str(TOOLS / "course"), sys.executable, str(file), str(said)]
    done = subprocess.run(
        [str(TOOLS / "apart"), str(top), "* 0.0.0.0/0", *script],
        env=env,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COURSE_SECONDS,
        check=False,
    )
    assert (said / "disks").exists(), done.stdout + done.stderr + (said / "up.err").read_text()
    shutil.rmtree(top / "rackbox/vagrant")
    return Life(said)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)
    return target


def test_it_comes_up_healthy_and_stays_as_it_is(life: Life) -> None:
    life.said("up")
    status = json.loads(life.said("status"))
    assert status["verdict"] == "healthy"
    assert {machine["name"] for machine in status["machines"]} == {"gateway", "lb1", "lb2", "master1"}
    life.said("again")
    assert "nothing to do" in (life.directory / "again.err").read_text()


@pytest.mark.parametrize("step", ["cut", "pause"])
def test_clients_go_on_when_the_holder_loses_its_power_or_is_paused(life: Life, step: str) -> None:
    assert life.verdict(step)["verdict"] == "held"


def test_a_volume_grows_while_its_machine_runs(life: Life) -> None:
    life.said("grow")
    volume, _, size = life.said("grown").split()
    assert float(volume) == 5
    assert int(size.removesuffix("M")) > 4700


def test_a_machine_that_is_made_anew_has_its_disk_again(life: Life) -> None:
    assert "kept" in life.said("write")
    life.said("remade")
    before, after = life.info("before"), life.info("after")
    assert before["UUID"] != after["UUID"]
    assert before["SATA Controller-2-0"] == after["SATA Controller-2-0"] != "none"
    assert before["SATA Controller-ImageUUID-2-0"] == after["SATA Controller-ImageUUID-2-0"]
    assert life.said("kept").strip() == "kept"


def test_a_lab_that_was_kept_comes_back_with_a_larger_disk(life: Life) -> None:
    life.said("stopped")
    assert (life.directory / "interfaces-stopped").read_text().strip() == ""
    life.said("started")
    kept, *groups, _, size = life.said("larger").split()
    assert kept == "kept"
    assert max(map(float, groups)) > 20
    assert any(2.9 < float(group) < 3.1 for group in groups)
    assert int(size.removesuffix("M")) > 1800


def test_nothing_but_the_base_of_its_clones_is_left(life: Life) -> None:
    """Of a lab that was kept and is not wanted any more: its machines are in VirtualBox, not in the lab's directory."""
    life.said("kept-again")
    life.said("down")
    left = (life.directory / "left").read_text().splitlines()
    assert len(left) == 1
    assert left[0].startswith('"rackbox_')
    base = left[0].split('"')[1]
    disks = [line for line in (life.directory / "disks").read_text().splitlines() if line.startswith("Location:")]
    assert disks
    assert all(f"/{base}/" in line for line in disks), disks
    assert (life.directory / "interfaces").read_text().strip() == ""

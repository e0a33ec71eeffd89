"""How a virtual machine takes what SSH needs from its seed (packer/rootfs/kernel-files/usr/lib/rackbox/early)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rackbox.early import early_files
from rackbox.paths import PROJECT
from tests.unit.test_early import NETWORK, USER_DATA

pytestmark = pytest.mark.shell

FILES = PROJECT / "packer/rootfs/kernel-files"
EARLY = FILES / "usr/lib/rackbox/early"
NETWORK_STAGE = """\
[Unit]
DefaultDependencies=no
After=cloud-init-local.service
Before=network-online.target
Before=sshd.service
Before=systemd-user-sessions.service
Before=sysinit.target
Before=shutdown.target
"""


class Machine:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.seed = top / "run/rackbox/seed"
        units = top / "usr/lib/systemd/system"
        for directory in (self.seed, units, top / "etc/ssh", top / "home/vagrant", top / "bin"):
            directory.mkdir(parents=True)
        (units / "cloud-init-network.service").write_text(NETWORK_STAGE)
        (units / "cloud-init-local.service").write_text("[Unit]\nBefore=network-pre.target\nBefore=shutdown.target\n")
        getent = top / "bin/getent"
        getent.write_text(
            f'#!/bin/sh\n[ "$2" != vagrant ] || echo "vagrant:x:{os.getuid()}:{os.getgid()}::/home/vagrant:/bin/sh"\n'
        )
        getent.chmod(0o755)

    def give(self, user_data: str = USER_DATA) -> None:
        """A seed with what this project puts into it."""
        shutil.rmtree(self.seed / "early", ignore_errors=True)
        (self.seed / "early").mkdir()
        for name, text in early_files(user_data, NETWORK).items():
            (self.seed / "early" / name).write_text(text)

    def run(self, word: str) -> None:
        env = {"PATH": f"{self.top / 'bin'}:{os.environ['PATH']}", "RACKBOX_ROOT": str(self.top)}
        done = subprocess.run(
            ["sh", str(EARLY), word], env=env, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def read(self, path: str) -> str:
        return (self.top / path).read_text()

    def mode(self, path: str) -> int:
        return (self.top / path).stat().st_mode & 0o777


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_network_and_logins_wait_for_cloud_init_no_longer(machine: Machine) -> None:
    machine.give()
    machine.run("prepare")
    stage = machine.read("run/systemd/system/cloud-init-network.service").splitlines()
    left_out = ["Before=sshd.service", "Before=systemd-user-sessions.service", "Before=sysinit.target"]
    assert stage == [line for line in NETWORK_STAGE.splitlines() if line not in left_out]
    assert "network-pre" not in machine.read("run/systemd/system/cloud-init-local.service")
    assert (
        machine.read("run/systemd/network/05-rackbox-dmz.network")
        == early_files(USER_DATA, NETWORK)["05-rackbox-dmz.network"]
    )
    assert machine.mode("run/systemd/network/05-rackbox-dmz.link") == 0o644  # networkd is not root
    assert (machine.top / "run/tmpfiles.d/systemd-nologin.conf").readlink() == Path("/dev/null")


def test_keys_are_there_before_sshd_and_with_nobody_else(machine: Machine) -> None:
    machine.give()
    machine.run("prepare")
    assert machine.mode("run/rackbox/early") == 0o700
    assert machine.mode("run/rackbox/early/ssh_host_ed25519_key") == 0o600
    lines = machine.read("run/systemd/system/ssh.service.d/rackbox-early.conf").splitlines()
    assert lines[:2] == ["[Unit]", "DefaultDependencies=no"]
    assert lines[lines.index("[Service]") + 1 :] == [
        "ExecStartPre=",
        f"ExecStartPre=-/{EARLY.relative_to(FILES)} install",
        "ExecStartPre=/usr/sbin/sshd -t",
    ]
    machine.run("install")
    assert machine.read("etc/ssh/ssh_host_ed25519_key") == "-----BEGIN\nkey\n-----END\n"
    assert machine.mode("etc/ssh/ssh_host_ed25519_key") == 0o600
    assert machine.read("home/vagrant/.ssh/authorized_keys") == "ssh-ed25519 AAAA user\n"
    assert machine.mode("home/vagrant/.ssh") == 0o700
    assert not (machine.top / "run/rackbox/early").exists()


def test_keys_that_are_newer_than_the_boot_stay(machine: Machine) -> None:
    """sshd is started again later, when the lab may have given the machine others."""
    machine.give()
    for word in ("prepare", "install"):
        machine.run(word)
    (machine.top / "etc/ssh/ssh_host_ed25519_key").write_text("another\n")
    (machine.top / "home/vagrant/.ssh/authorized_keys").write_text("another\n")
    machine.run("install")
    assert machine.read("etc/ssh/ssh_host_ed25519_key") == "another\n"
    machine.run("prepare")  # the next boot
    machine.run("install")
    assert machine.read("home/vagrant/.ssh/authorized_keys") == "another\nssh-ed25519 AAAA user\n"


def test_a_user_that_the_box_does_not_have_is_left_to_cloud_init(machine: Machine) -> None:
    machine.give(USER_DATA.replace("vagrant", "admin"))
    machine.run("prepare")
    machine.run("install")
    assert not (machine.top / "home/vagrant/.ssh").exists()
    assert machine.read("etc/ssh/ssh_host_ed25519_key.pub") == "ssh-ed25519 BBBB master1\n"


def test_without_such_a_seed_everything_is_cloud_init_s(machine: Machine) -> None:
    machine.run("prepare")
    machine.run("install")
    assert not (machine.top / "run/systemd").exists()
    assert list((machine.top / "etc/ssh").iterdir()) == []

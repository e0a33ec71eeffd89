"""How a virtual machine takes what SSH needs from its seed, first in the initramfs, then before sshd
(packer/rootfs/kernel-files): blkid, modprobe, mount, ipconfig and getent are fakes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rackbox.early import early_files
from rackbox.layout import BOOT_LABEL, load_layout, render_disk
from rackbox.paths import PROJECT
from tests.unit.test_early import NETWORK, USER_DATA

pytestmark = pytest.mark.shell

FILES = PROJECT / "packer/rootfs/kernel-files"
SCRIPTS = FILES / "etc/initramfs-tools/scripts"
TAKE, MOUNT = SCRIPTS / "init-top/rackbox", SCRIPTS / "local-bottom/rackbox"
INSTALL = FILES / "usr/lib/rackbox/early"
NETWORK_STAGE = """\
[Unit]
DefaultDependencies=no
After=cloud-init-local.service
Before=network-online.target
Before=sshd.service
Before=systemd-user-sessions.service
Before=sysinit.target
Before=shutdown.target
[Service]
ExecStart=sh -c 'printf "start\\n" | nc -U /run/%s'
"""


SSH = """\
[Unit]
Description=OpenBSD Secure Shell server
After=network.target nss-user-lookup.target auditd.service
ConditionPathExists=!/etc/ssh/sshd_not_to_be_run

[Service]
EnvironmentFile=-/etc/default/ssh
ExecStartPre=/usr/sbin/sshd -t
ExecStart=/usr/sbin/sshd -D $SSHD_OPTS
ExecReload=/usr/sbin/sshd -t

[Install]
WantedBy=multi-user.target
"""
NETWORKD = """\
[Unit]
DefaultDependencies=no
After=systemd-networkd.socket systemd-udevd.service network-pre.target systemd-sysctl.service
Before=network.target
[Service]
ExecStart=!!/usr/lib/systemd/systemd-networkd
"""


class Machine:
    """``seed``: what is on the disk with the label cidata, if it is a directory."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.seed = top / "seed"
        units = top / "usr/lib/systemd/system"
        for directory in (
            "run",
            "etc/ssh",
            "home/vagrant",
            "bin",
            "usr/lib/rackbox",
            "dev/mapper",
            "dev/disk/by-label",
        ):
            (top / directory).mkdir(parents=True)
        units.mkdir(parents=True)
        (units / "cloud-init-network.service").write_text(NETWORK_STAGE)
        (units / "cloud-init-local.service").write_text("[Unit]\nBefore=network-pre.target\nBefore=shutdown.target\n")
        (units / "ssh.service").write_text(SSH)
        (units / "systemd-networkd.service").write_text(NETWORKD)
        (top / "usr/lib/rackbox/early").write_text(INSTALL.read_text())
        (top / "usr/lib/rackbox/early").chmod(0o755)
        (top / "etc/fstab").write_text("/dev/mapper/rackbox-root / ext4 errors=remount-ro 0 1\n")
        self._fake(
            "getent", f'[ "$2" != vagrant ] || echo "vagrant:x:{os.getuid()}:{os.getgid()}::/home/vagrant:/bin/sh"'
        )
        self._fake("blkid", f'[ -d "{self.seed}" ] && echo /dev/vdb')
        self._fake("modprobe", "")
        self._fake("ipconfig", f'echo "$@" >>"{top}/ipconfig"')
        self._fake("umount", 'rm -rf "$1" && mkdir "$1"')
        self._fake("mount", f'shift; case $1 in iso9660) cp -r "{self.seed}/." "$5" ;; *) echo "$3 $4 $5" ;; esac')

    def _fake(self, name: str, body: str) -> None:
        file = self.top / "bin" / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def give(self, user_data: str = USER_DATA) -> None:
        """A seed with what this project puts into it."""
        (self.seed / "early").mkdir(parents=True, exist_ok=True)
        for name, text in early_files(user_data, NETWORK).items():
            (self.seed / "early" / name).write_text(text)

    def run(self, script: Path) -> str:
        env = {
            "PATH": f"{self.top / 'bin'}:{os.environ['PATH']}",
            "RACKBOX_ROOT": str(self.top),
            "rootmnt": str(self.top),
        }
        done = subprocess.run(["sh", str(script)], env=env, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def boot(self) -> None:
        """Up to where sshd would start."""
        for script in (TAKE, MOUNT, INSTALL):
            assert self.run(script) == ""

    def power_off(self) -> None:
        subprocess.run(["rm", "-r", str(self.top / "run")], check=True)
        (self.top / "run").mkdir()

    def read(self, path: str) -> str:
        return (self.top / path).read_text()

    def mode(self, path: str) -> int:
        return (self.top / path).stat().st_mode & 0o777


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_network_s_files_are_there_before_udev_sees_a_card(machine: Machine) -> None:
    machine.give()
    machine.run(TAKE)
    for name in ("05-rackbox-dmz.link", "05-rackbox-dmz.network", "05-rackbox-mgmt.network"):
        assert machine.read(f"run/systemd/network/{name}") == early_files(USER_DATA, NETWORK)[name]
        assert machine.mode(f"run/systemd/network/{name}") == 0o644  # networkd is not root
    asked = subprocess.run([SCRIPTS / "init-top/udev", "prereqs"], capture_output=True, check=True)
    assert asked.stdout == b"rackbox\n", "comes after it"


def test_the_managed_address_answers_before_networkd_is_there(machine: Machine) -> None:
    machine.give()
    machine.boot()
    assert machine.read("ipconfig") == "-d 192.168.4.2:::255.255.255.0::dmz:off\n"


def test_a_seed_that_says_no_address_lets_ssh_in_all_the_same(machine: Machine) -> None:
    """One of a version before there were any."""
    machine.give()
    (machine.seed / "early/addresses").unlink()
    machine.boot()
    assert not (machine.top / "ipconfig").exists()
    assert (machine.top / "run/systemd/system/ssh.service").exists()


def test_network_and_logins_wait_for_cloud_init_no_longer(machine: Machine) -> None:
    machine.give()
    machine.boot()
    stage = machine.read("run/systemd/system/cloud-init-network.service").splitlines()
    left_out = ["Before=sshd.service", "Before=systemd-user-sessions.service", "Before=sysinit.target"]
    kept = [line for line in NETWORK_STAGE.splitlines() if line not in left_out]
    kept.insert(kept.index("[Service]") + 1, "Nice=10")
    assert stage == kept
    assert "network-pre" not in machine.read("run/systemd/system/cloud-init-local.service")
    assert machine.read("run/tmpfiles.d/systemd-nologin.conf") == ""  # in place of the one of systemd's


def test_keys_are_there_before_sshd_and_with_nobody_else(machine: Machine) -> None:
    machine.give()
    machine.run(TAKE)
    machine.run(MOUNT)
    assert machine.mode("run/rackbox/early") == 0o700
    assert machine.mode("run/rackbox/early/ssh_host_ed25519_key") == 0o600
    assert f"ExecStartPre=-/{INSTALL.relative_to(FILES)}" in machine.read("run/systemd/system/ssh.service").splitlines()
    machine.run(INSTALL)
    assert machine.read("etc/ssh/ssh_host_ed25519_key") == "-----BEGIN\nkey\n-----END\n"
    assert machine.mode("etc/ssh/ssh_host_ed25519_key") == 0o600
    assert machine.mode("etc/ssh/ssh_host_ed25519_key.pub") == 0o644
    assert machine.read("home/vagrant/.ssh/authorized_keys") == "ssh-ed25519 AAAA user\n"
    assert machine.mode("home/vagrant/.ssh") == 0o700
    assert not (machine.top / "run/rackbox/early").exists()


def test_ssh_and_network_wait_for_what_they_need_alone(machine: Machine) -> None:
    machine.give()
    machine.boot()
    ssh, networkd = (machine.read(f"run/systemd/system/{name}.service") for name in ("ssh", "systemd-networkd"))
    assert set(SSH.splitlines()) - set(ssh.splitlines()) == {
        "After=network.target nss-user-lookup.target auditd.service",
        "ExecStartPre=/usr/sbin/sshd -t",
    }
    unit, _, service = ssh.partition("[Service]\n")
    assert {"DefaultDependencies=no", "RequiresMountsFor=/etc/ssh /home /tmp /var/log"} < set(unit.splitlines())
    first = [f"ExecStartPre=-/{INSTALL.relative_to(FILES)}", "CPUSchedulingPolicy=rr", "CPUSchedulingResetOnFork=yes"]
    assert service.splitlines()[:3] == first
    after = "After=systemd-networkd.socket  network-pre.target systemd-sysctl.service"
    assert [line for line in networkd.splitlines() if line not in NETWORKD.splitlines()] == [after]


def test_keys_that_are_newer_than_the_boot_stay(machine: Machine) -> None:
    """sshd is started again later, when the lab may have given the machine others."""
    machine.give()
    machine.boot()
    (machine.top / "etc/ssh/ssh_host_ed25519_key").write_text("another\n")
    (machine.top / "home/vagrant/.ssh/authorized_keys").write_text("another\n")
    machine.run(INSTALL)
    assert machine.read("etc/ssh/ssh_host_ed25519_key") == "another\n"
    machine.power_off()
    machine.boot()
    assert machine.read("etc/ssh/ssh_host_ed25519_key") == "-----BEGIN\nkey\n-----END\n"
    assert machine.read("home/vagrant/.ssh/authorized_keys") == "another\nssh-ed25519 AAAA user\n"


def test_a_user_that_the_box_does_not_have_is_left_to_cloud_init(machine: Machine) -> None:
    machine.give(USER_DATA.replace("vagrant", "admin"))
    machine.boot()
    assert not (machine.top / "home/vagrant/.ssh").exists()
    assert machine.read("etc/ssh/ssh_host_ed25519_key.pub") == "ssh-ed25519 BBBB master1\n"


@pytest.mark.parametrize("seed", ["none", "another's"])
def test_without_such_a_seed_everything_is_cloud_init_s(machine: Machine, seed: str) -> None:
    if seed != "none":
        machine.seed.mkdir()
        (machine.seed / "user-data").write_text(USER_DATA)
    machine.boot()
    assert not (machine.top / "run/systemd/system").exists()
    assert [file for file in (machine.top / "run").rglob("*") if file.is_file()] == []
    assert list((machine.top / "etc/ssh").iterdir()) == []


def test_the_volumes_are_mounted_before_systemd(machine: Machine) -> None:
    """With the very fstab of the box. /home's device is not there, as where LVM has not found it yet: systemd waits."""
    layout = load_layout()
    fstab = render_disk(layout)["tree/etc/fstab"]
    others = "/dev/mapper/rackbox-bricks /srv xfs noatime 0 0\n\n/dev/mapper/rackbox-var /checked ext4 defaults 0 2\n"
    (machine.top / "etc/fstab").write_text(fstab + others)
    for volume in layout.volumes:
        if volume.mount != "/home":
            (machine.top / "dev/mapper" / f"rackbox-{volume.name}").touch()
    (machine.top / "dev/mapper/rackbox-bricks").touch()
    (machine.top / "dev/vda3").touch()
    (machine.top / "dev/disk/by-label" / BOOT_LABEL).symlink_to("../../vda3")
    top = machine.top
    assert machine.run(MOUNT).splitlines() == [
        f"defaults {top}/dev/vda3 {top}/boot",
        *(f"defaults {top}/dev/mapper/rackbox-{name} {top}/{name}" for name in ("var", "opt", "tmp")),
    ]

"""Which devices udev looks at, and when, in a virtual machine (packer/rootfs/kernel-files): udevadm and blkid are
fakes, the machine's PCI devices a directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rackbox.layout import BOOT_LABEL
from rackbox.paths import PROJECT

pytestmark = pytest.mark.shell

FILES = PROJECT / "packer" / "rootfs" / "kernel-files"
COLDPLUG = FILES / "usr/lib/rackbox/coldplug"
INIT_TOP = FILES / "etc/initramfs-tools/scripts/init-top/udev"
DISK, NETWORK, SATA = "0000:00:01.0", "0000:00:02.0", "0000:00:1f.2"


class Machine:
    """``found``: what blkid finds."""

    def __init__(self, top: Path) -> None:
        self.found = ""
        self.top = top
        for name, number in ((DISK, "0x010000"), (NETWORK, "0x020000"), (SATA, "0x010601")):
            device = top / "sys/bus/pci/devices" / name
            device.mkdir(parents=True)
            (device / "class").write_text(f"{number}\n")
            (device / "uevent").touch()
        self._bin = top / "bin"
        self._bin.mkdir()
        self._fake("udevadm", 'echo "udevadm $*"')
        self._fake("modprobe", 'echo "modprobe $*"')
        self._fake("blkid", '[ -n "$FOUND" ] && [ "${2#LABEL=}" = "$FOUND" ]')

    def _fake(self, name: str, body: str) -> None:
        file = self._bin / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def run(self, script: Path, *words: str) -> list[str]:
        env = {"PATH": f"{self._bin}:{os.environ['PATH']}", "RACKBOX_ROOT": str(self.top), "FOUND": self.found}
        done = subprocess.run(
            ["sh", str(script), *words], env=env, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    def looked_at(self) -> list[str]:
        """The PCI devices that the kernel was asked to announce again, since the last time."""
        files = sorted((self.top / "sys/bus/pci/devices").glob("*/uevent"))
        names = [file.parent.name for file in files if file.read_text() == "add\n"]
        for file in files:
            file.write_text("")
        return names


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_sata_is_looked_at_once_the_machine_is_up(machine: Machine) -> None:
    machine.found = "cidata"
    machine.run(COLDPLUG)
    assert machine.looked_at() == [DISK, NETWORK]
    assert machine.run(COLDPLUG, "late") == []
    assert machine.looked_at() == [SATA]


def test_sata_is_looked_at_at_once_if_no_seed_is_elsewhere(machine: Machine) -> None:
    """It may be on a CD-ROM there, and without it cloud-init would do nothing."""
    machine.run(COLDPLUG)
    assert machine.looked_at() == [DISK, NETWORK, SATA]


def test_what_a_boot_stands_on_is_among_it(machine: Machine) -> None:
    first, serial = machine.run(COLDPLUG)
    left_out = {word.removeprefix("--subsystem-nomatch=") for word in first.split() if "nomatch" in word}
    assert left_out.isdisjoint({"block", "net", "virtio", "acpi", "input", "misc", "rtc", "scsi", "nvme"})
    assert "--sysname-match=ttyS*" in serial  # where a login waits


@pytest.mark.parametrize(("found", "looks"), [(BOOT_LABEL, 1), ("another", 2)])
def test_the_initramfs_looks_at_more_only_if_no_disk_is_there(machine: Machine, found: str, looks: int) -> None:
    """udevd is started by its path, so here something else is in its place."""
    (machine.top / "dev/disk/by-label").mkdir(parents=True)
    (machine.top / "dev/disk/by-label" / found).touch()
    script = machine.top / "udev"
    text = INIT_TOP.read_text()
    daemon = "/lib/systemd/systemd-udevd"
    script.write_text(text.replace(daemon, "echo udevd"))
    said = machine.run(script)
    assert said[:2] == ["modprobe -q virtio_rng", "udevd --daemon --resolve-names=never"]
    assert sum("trigger" in line for line in said) == looks
    assert all(said[number + 1] == "udevadm settle" for number, line in enumerate(said) if "trigger" in line)


def test_units_start_what_is_there() -> None:
    trigger = (FILES / "etc/systemd/system/systemd-udev-trigger.service.d/90-rackbox.conf").read_text()
    late = (FILES / "etc/systemd/system/rackbox-late-devices.service").read_text()
    path = f"/{COLDPLUG.relative_to(FILES)}"
    assert f"ExecStart=-{path}" in trigger.splitlines()
    assert f"ExecStart=-{path} late" in late.splitlines()
    assert all(file.stat().st_mode & 0o111 for file in (COLDPLUG, INIT_TOP))

"""The disk of a virtual machine's box, as data: partitions, the volume group, its volumes, and what stays free.

Entry points: ``load_layout`` reads ``packer/disk/layout.yaml``; ``render_disk`` gives every file that the disk is made
with. Pure but for the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError

from rackbox.config_errors import explain
from rackbox.durations import format_size
from rackbox.errors import ConfigError
from rackbox.fields import Rule, size_between, text_of
from rackbox.paths import PROJECT
from rackbox.section import Section
from rackbox.yamlfile import YamlFile, load_yaml

LAYOUT = PROJECT / "packer" / "disk" / "layout.yaml"
EXTENT_MIB = 4
"""LVM's default (vgcreate(8))."""
BIOS_MIB = 1
BOOT_LABEL = "rackbox-boot"
ESP_LABEL = "RACKBOX-ESP"
"""FAT allows 11 characters, capitals."""
SERIAL = "ttyS0,115200n8"
_QUICK = (
    "mitigations=off init_on_alloc=0 cryptomgr.notests initcall_blacklist=jent_mod_init noautogroup "
    "lsm=landlock,yama,apparmor systemd.condition_first_boot=no"
)
COMMAND_LINE = f"rootfstype=ext4 console=tty0 console={SERIAL} quiet {_QUICK}"
"""The last console is the machine's own: /dev/console, where a login waits and systemd's last words go.

A lab's machines run their owner's programs alone. With the kernel's page table isolation an emulated one takes 1.7 to
1.9 times as long: each system call throws away what QEMU knows of addresses. To test at each boot the kernel's
ciphers and its jitter entropy (left out altogether; /dev/random does without), and to clear memory that is handed out,
is up to a fifth of what it does until SSH answers: 7.5 thousand million instructions, counted by QEMU; 5.9 without them
and, in that one count, without the kernel's audit.
With the security modules that nothing here uses systemd loads a BPF program of its own, a thirtieth of a boot's
instructions; at a first boot it tries to write presets onto a root that is not writable yet, and says so. With the
kernel's automatic groups nice values, which units here have, count within a service alone."""

_TYPES = {  # sfdisk's aliases differ between releases; these are the UEFI specification's and the LVM project's
    "bios": "21686148-6449-6E6F-744E-656564454649",
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "boot": "BC13C2FF-59E6-4262-A352-B275FD6F7172",
    "lvm": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
}


@dataclass(frozen=True, slots=True)
class LayoutVolume:
    """One logical volume of the box, ext4 on it."""

    name: str
    mount: str
    size_mib: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes are MiB. ``volumes`` are in the order in which they are made and mounted: what is mounted below another
    comes after it."""

    disk_mib: int
    esp_mib: int
    boot_mib: int
    group: str
    volumes: tuple[LayoutVolume, ...]

    @property
    def extents(self) -> int:
        """Extents of the group. The table takes the disk's first and last MiB, LVM's own records one more."""
        physical = self.disk_mib - 2 - BIOS_MIB - self.esp_mib - self.boot_mib
        return (physical - 1) // EXTENT_MIB

    @property
    def free_mib(self) -> int:
        return self.extents * EXTENT_MIB - sum(volume.size_mib for volume in self.volumes)

    def device(self, volume: str) -> str:
        return f"/dev/mapper/{self.group}-{volume}"

    def table(self) -> list[dict[str, Any]]:
        """For a box's manifest."""
        rows = [{"name": v.name, "mount": v.mount, "size_mib": v.size_mib} for v in self.volumes]
        return [{"group": self.group, "extents": self.extents, "free_mib": self.free_mib, "volumes": rows}]


def _plain_name(value: Any) -> str:
    wanted = "a name of a-z, at most 15 long"  # without a hyphen: /dev/mapper doubles those
    text = text_of(value, wanted)
    if not (text.isascii() and text.isalpha() and text.islower() and len(text) <= 15):
        raise ValueError(f"must be {wanted}")
    return text


def _mount_point(value: Any) -> str:
    wanted = "an absolute path without a blank, such as /var"
    text = text_of(value, wanted)
    clean = text == "/" or (text.startswith("/") and not text.endswith("/") and "//" not in text)
    if not clean or not text.isprintable() or any(c in " \\#" for c in text) or ".." in text.split("/"):
        raise ValueError(f"must be {wanted}")
    return text


def _extents(low: str, high: str) -> Rule:
    inner = size_between(low, high)

    def parse(value: Any) -> int:
        mib: int = inner.parse(value)
        if mib % EXTENT_MIB:
            raise ValueError(f"must be whole {EXTENT_MIB} MiB: LVM counts in extents of that size")
        return mib

    return Rule(parse, inner.schema)


class _Volume(Section):
    mount: Annotated[str, Rule(_mount_point)]
    size: Annotated[int, _extents("64M", "1T")]


class _File(Section):
    disk: Annotated[int, size_between("4G", "2T")]
    esp: Annotated[int, size_between("36M", "1G")]
    boot: Annotated[int, size_between("256M", "4G")]
    group: Annotated[str, Rule(_plain_name)]
    volumes: dict[Annotated[str, Rule(_plain_name)], _Volume]


def load_layout(path: Path = LAYOUT) -> Layout:
    """The layout that a file describes. Raises ``ConfigError`` with everything that is wrong with it."""
    source = load_yaml(path)
    try:
        file = _File.model_validate(source.data)
    except ValidationError as error:
        raise ConfigError([source.problem(where, text) for where, text in explain(error, _File)]) from None
    volumes = (LayoutVolume(name, volume.mount, volume.size) for name, volume in file.volumes.items())
    ordered = tuple(sorted(volumes, key=lambda volume: volume.mount.rstrip("/").count("/")))
    layout = Layout(file.disk, file.esp, file.boot, file.group, ordered)
    _check(source, layout)
    return layout


def _check(source: YamlFile, layout: Layout) -> None:
    problems = []
    owners: dict[str, str] = {"/boot": "the boot partition"}
    for volume in layout.volumes:
        if volume.mount in owners:
            text = f"must be a path of its own; got {volume.mount}, which is {owners[volume.mount]}'s"
            problems.append(source.problem(("volumes", volume.name, "mount"), text))
        owners.setdefault(volume.mount, volume.name)
        if volume.mount.count("/") > 1:
            text = f"must be a directory at the top, such as /var; got {volume.mount}"
            problems.append(source.problem(("volumes", volume.name, "mount"), text))
    if owners.get("/") != "root":
        problems.append(source.problem(("volumes",), "must have a volume root at /; got none"))
    if layout.free_mib < 0:
        wanted = format_size(sum(volume.size_mib for volume in layout.volumes))
        room = format_size(layout.extents * EXTENT_MIB)
        text = f"must fit into the group, which has {room} on a disk of {format_size(layout.disk_mib)}; got {wanted}"
        problems.append(source.problem(("volumes",), text))
    if problems:
        raise ConfigError(problems)


def render_disk(layout: Layout) -> Mapping[str, str]:
    """Every file that the disk is made with, by name. ``tree/…`` are laid into the tree at their path."""
    return {
        "partitions.sfdisk": _render_partitions(layout),
        "volumes.tsv": "".join(f"{v.name}\t{v.mount}\t{v.size_mib}\n" for v in layout.volumes),
        "disk.env": _render_settings(layout),
        "early.cfg": _render_early(),
        "grub.cfg": _render_menu(layout),
        "tree/etc/fstab": _render_fstab(layout),
        "tree/etc/default/grub.d/rackbox.cfg": _render_defaults(),
    }


def _render_partitions(layout: Layout) -> str:
    """A script for sfdisk(8): it starts at 1 MiB and gives the last one all that is left."""
    sizes = {"bios": BIOS_MIB, "esp": layout.esp_mib, "boot": layout.boot_mib}
    lines = [f'size={size}MiB, type={_TYPES[name]}, name="{name}"' for name, size in sizes.items()]
    return "\n".join(["label: gpt", *lines, f'type={_TYPES["lvm"]}, name="lvm"', ""])


def _render_settings(layout: Layout) -> str:
    values = {
        "DISK_MIB": layout.disk_mib,
        "BOOT_MIB": layout.boot_mib,
        "BOOT_LABEL": BOOT_LABEL,
        "ESP_LABEL": ESP_LABEL,
        "GROUP": layout.group,
        "EXTENT_MIB": EXTENT_MIB,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _render_fstab(layout: Layout) -> str:
    """fstab(5). The root and /usr are checked in the initramfs; of the others, ext4's journal takes care: to start fsck
    for each takes seconds where the machine is emulated."""
    lines = []
    for volume in layout.volumes:
        options, turn = ("errors=remount-ro", 1) if volume.mount == "/" else ("defaults", 0)
        lines.append(f"{layout.device(volume.name)} {volume.mount} ext4 {options} 0 {turn}")
    lines.insert(1, f"LABEL={BOOT_LABEL} /boot ext4 defaults 0 0")
    lines.append(f"LABEL={ESP_LABEL} /boot/efi vfat umask=0077,noauto 0 0")
    return "\n".join(["# Made by rackbox from packer/disk/layout.yaml.", *lines, ""])


def _render_early() -> str:
    """GRUB's first commands, inside its image, where only the simplest are understood; one that fails is passed over.

    Where there is a serial port, it alone is used: without a video device GRUB would wait for ever for an answer.
    """
    return f"""\
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
search --no-floppy --label --set=root {BOOT_LABEL}
set prefix=($root)/grub
normal /grub/grub.cfg
"""


def _render_menu(layout: Layout) -> str:
    """GRUB's configuration. The kernel's packages keep the two links on the newest kernel (kernel-img.conf(5)).

    With a BIOS, `linux` would take 54 MB (the kernel's init_size) wherever they are free and shift them to the kernel's
    address byte by byte, which is 4 s of an emulated boot. `linux16` loads the file where it belongs.
    """
    arguments = f"/vmlinuz root={layout.device('root')} ro {COMMAND_LINE}"
    return f"""\
# Made by rackbox from packer/disk/layout.yaml. `update-grub` in a machine makes another, from /etc/default/grub.d.
set timeout=0
set default=0
menuentry "rackbox" {{
  search --no-floppy --label --set=root {BOOT_LABEL}
  if [ "$grub_platform" = pc ]; then
    linux16 {arguments}
    initrd16 /initrd.img
  else
    linux {arguments}
    initrd /initrd.img
  fi
}}
"""


def _render_defaults() -> str:
    """What `update-grub` in a machine goes by: the same console, the same command line."""
    return f"""\
# Made by rackbox. Read by update-grub, after /etc/default/grub.
GRUB_TIMEOUT=0
GRUB_DISABLE_OS_PROBER=true
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="{COMMAND_LINE}"
"""

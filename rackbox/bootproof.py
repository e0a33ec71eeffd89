"""The proof of a virtual machine's box without a lab: two linked clones of its disk are booted, one after the other,
and say from inside what they are. Entry point: ``boot_clones``.

Each machine is emulated in a network namespace of its own that ends with it, and reached at a tap device in there, as
libvirt's machines are. (QEMU's own network keeps whatever is said to a machine that is not up yet, and says it all at
once when it is.) Its serial console is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackbox.errors import CommandFailed, LabError, MachineError
from rackbox.hooks import load_sources
from rackbox.machinesmoke import SCRIPT
from rackbox.pki import make_ssh_key
from rackbox.providers.libvirt_settings import EMULATED_CPU
from rackbox.run import run
from rackbox.seed import write_seed
from rackbox.templating import GuestFile, Templates, format_write_files
from rackbox.wait import NotYet, wait_for

BOOT_TIMEOUT = 600.0
SAY_TIMEOUT = 300.0
"""Seconds. Emulated machines on a computer that is busy take ten times as long as on an idle one; a slow one is no bad
one, so these only end what is stuck. How fast it was is told by the figures."""
ADDRESS = "10.0.2.15"
TAP, TAP_ADDRESS = "machine", "10.0.2.2"
# ARP is answered here: to ask a machine that is not up yet would be tried but once a second.
_NETWORK = f"""
mac=$1
shift
ip tuntap add dev {TAP} mode tap
ip address add {TAP_ADDRESS}/24 dev {TAP}
ip link set {TAP} up
ip neighbour replace {ADDRESS} lladdr "$mac" dev {TAP} nud permanent
exec "$@"
"""
_BANNER = f"""
import socket
with socket.create_connection(("{ADDRESS}", 22), timeout=0.5) as connection:
    connection.settimeout(30)
    print(connection.recv(64).decode(errors="replace"))
"""
"""Who is not reached is soon called again. Else words are waited for: to hang up and call again would keep it busy."""
MEMORY_MIB = 1024
UEFI = Path("/usr/share/OVMF")
"""Where Debian and Ubuntu have QEMU's UEFI (package ovmf): its code, and variables to begin with."""


PANIC = b"Kernel panic - not syncing"


class _PanicError(MachineError):
    """A machine that need not be waited for any longer."""


@dataclass(frozen=True, slots=True)
class Clone:
    """What came of one machine: its own words (``machinesmoke.SCRIPT``), and seconds from power-on until SSH answered
    and until it had said them."""

    said: Mapping[str, Any]
    banner_s: float
    asked_s: float


@dataclass(frozen=True, slots=True)
class Hardware:
    """What differs between the computers that a box must boot on. ``disk``: virtio, ahci, scsi or nvme."""

    disk: str = "virtio"
    uefi: bool = False
    accelerator: str = "tcg,thread=multi"
    cpus: int = 2


def boot_clones(disk: Path, work: Path, names: tuple[str, ...], hardware: Hardware) -> dict[str, Clone]:
    """Boot one linked clone of ``disk`` by name after the other. ``work`` gets a console log for each. Raises
    ``MachineError`` with the console's last lines for one that does not come up."""
    return {name: _boot_clone(disk, work, name, hardware) for name in names}


def _boot_clone(disk: Path, work: Path, name: str, hardware: Hardware) -> Clone:
    """Once more, if the kernel panics on an emulated processor, and the console of the first time is kept. With several
    of them QEMU may run an instruction that another one has just replaced (seen once: an ``int3`` of the
    kernel's own, in the second second). A kernel that is broken panics again."""
    try:
        return _boot_once(disk, work, name, hardware)
    except _PanicError:
        if not hardware.accelerator.startswith("tcg"):
            raise
        (work / f"{name}.console.log").replace(work / f"{name}.panic.log")
        return _boot_once(disk, work, name, hardware)


def _boot_once(disk: Path, work: Path, name: str, hardware: Hardware) -> Clone:
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=work) as directory:
        place = Path(directory)
        key = _write_files(name, place)
        clone = place / "clone.qcow2"
        kind = "vmdk" if disk.suffix == ".vmdk" else "qcow2"
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(disk), "-F", kind, str(clone)], timeout=60)
        console = work / f"{name}.console.log"
        with _running(_mac(name), _argv(name, place, clone, console, hardware)) as machine:
            try:
                return _ask(machine, name, place, key, console)
            except (LabError, ValueError) as error:
                words = getattr(error, "message", str(error))
                failure = _PanicError if isinstance(error, _PanicError) else MachineError
                raise failure(f"{name}: {words}\n{_tail(console)}", f"its whole console: {console}") from error


def _write_files(name: str, place: Path) -> Path:
    """The seed, made by the lab's own templates; returns the key that it lets in."""
    host_private, host_public = make_ssh_key(name)
    private, public = make_ssh_key("rackbox smoke")
    templates = Templates(load_sources().templates)
    nic = {
        "name": "smoke",
        "mac": _mac(name),
        "dhcp": False,
        "address": f"{ADDRESS}/24",
        "required": True,
        "default_route": False,
        "upstream": None,
    }
    values = {
        "header": "Made by rackbox for a smoke boot.",
        "topology": {"lab": "smoke"},
        "node": {"name": name, "fqdn": f"{name}.smoke.test"},
        "user": "vagrant",
        "host_key": {"private": host_private, "public": host_public},
        "authorized_key": public,
        "write_files": format_write_files((GuestFile("/etc/rackbox/smoke", f"{name}\n"),)),
        "nics": [nic],
        "digest": "smoke",
        "resolver": "",
    }
    seed = place / "seed"
    seed.mkdir()
    for file in ("user-data", "network-config", "meta-data"):
        (seed / file).write_text(templates.render(f"cloud-init/{file}.j2", values))
    write_seed(seed, place / "seed.iso")
    key = place / "key"
    key.touch(mode=0o600)
    key.write_text(private)
    (place / "known_hosts").write_text(f"{name} {host_public}\n")
    return key


def _mac(name: str) -> str:
    return "02:00:00:" + ":".join(f"{byte:02x}" for byte in uuid.uuid5(uuid.NAMESPACE_DNS, name).bytes[:3])


def _argv(name: str, place: Path, clone: Path, console: Path, hardware: Hardware) -> list[str]:
    """QEMU with no video device, as a libvirt machine of the lab has it."""
    disk = {
        "virtio": ["-device", "virtio-blk-pci,drive=disk,bootindex=1"],
        "ahci": ["-device", "ide-hd,drive=disk,bootindex=1,bus=ide.0"],  # q35's own controller is AHCI
        "scsi": ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk,bootindex=1"],
        "nvme": ["-device", "nvme,drive=disk,serial=rackbox,bootindex=1"],
    }[hardware.disk]
    cpu = "host" if hardware.accelerator.startswith("kvm") else EMULATED_CPU
    return [
        *("qemu-system-x86_64", "-name", name, "-uuid", str(uuid.uuid4())),
        *("-machine", "q35", "-accel", hardware.accelerator, "-cpu", cpu),
        *("-smp", str(hardware.cpus), "-m", str(MEMORY_MIB)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", f"file:{console}", "-device", "virtio-rng-pci"),
        *("-drive", f"file={clone},format=qcow2,if=none,id=disk,cache=unsafe,discard=unmap", *disk),
        *("-drive", f"file={place / 'seed.iso'},format=raw,if=none,id=seed,readonly=on"),
        *("-device", "virtio-blk-pci,drive=seed"),
        *("-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=net,mac={_mac(name)}"),
        *(_firmware(place) if hardware.uefi else ()),
    ]


def _firmware(place: Path) -> list[str]:
    code, variables = UEFI / "OVMF_CODE_4M.fd", UEFI / "OVMF_VARS_4M.fd"
    if not code.exists():
        raise LabError(f"{code}: not there", "install the package ovmf")
    own = place / "uefi-variables.fd"
    shutil.copyfile(variables, own)
    flash = "if=pflash,format=raw"
    return ["-drive", f"{flash},unit=0,readonly=on,file={code}", "-drive", f"{flash},unit=1,file={own}"]


@contextmanager
def _running(mac: str, argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A machine in a network namespace of its own; it is killed at the end, as it must not outlive us."""
    apart = ["setpriv", "--pdeathsig=KILL", "unshare", "--net", "sh", "-euc", _NETWORK, "sh", mac]
    with subprocess.Popen(  # noqa: S603 - argv lists only
        [*apart, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as machine:
        try:
            wait_for("a network namespace", lambda: _look_apart(machine), timeout=30, interval=0.01)
            yield machine
        finally:
            if machine.poll() is None:
                os.killpg(machine.pid, signal.SIGKILL)


def _ask(machine: subprocess.Popen[bytes], name: str, place: Path, key: Path, console: Path) -> Clone:
    started = time.monotonic()

    def banner() -> float:
        _still_runs(machine)
        if console.exists() and PANIC in console.read_bytes():
            raise _PanicError("its kernel panicked")
        said = run(_inside(machine, [sys.executable, "-I", "-c", _BANNER]), timeout=60, check=False).stdout
        if not said.startswith("SSH-"):
            raise NotYet("no answer")
        return time.monotonic() - started

    banner_s = wait_for("SSH", banner, timeout=BOOT_TIMEOUT, interval=0.2)
    options = ["-i", str(key), "-o", f"UserKnownHostsFile={place / 'known_hosts'}", "-o", f"HostKeyAlias={name}"]
    options += ["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]
    options += ["-o", "GlobalKnownHostsFile=/dev/null", "-F", "none"]
    ssh = _inside(machine, ["ssh", *options, f"vagrant@{ADDRESS}", "sudo", "bash", "-s"])

    def say() -> Clone:
        _still_runs(machine)
        try:
            words = run(ssh, timeout=SAY_TIMEOUT, input=SCRIPT).stdout
        except CommandFailed as error:
            raise NotYet(error.message) from error
        return Clone(json.loads(words), banner_s, time.monotonic() - started)

    return wait_for("its own words", say, timeout=SAY_TIMEOUT, interval=1)


def _inside(machine: subprocess.Popen[bytes], argv: list[str]) -> list[str]:
    return ["nsenter", f"--net=/proc/{machine.pid}/ns/net", "--", *argv]


def _look_apart(machine: subprocess.Popen[bytes]) -> None:
    """Until it has a network of its own, who asks for ``_inside`` would ask in ours."""
    _still_runs(machine)
    try:
        if os.path.samefile(f"/proc/{machine.pid}/ns/net", "/proc/self/ns/net"):
            raise NotYet("none of its own")
    except OSError as error:
        raise NotYet("it is ending") from error


def _still_runs(machine: subprocess.Popen[bytes]) -> None:
    if machine.poll() is not None:
        said = machine.stderr.read().decode(errors="replace").strip() if machine.stderr else ""
        raise LabError(f"QEMU ended (exit {machine.returncode}): {said}")


def _tail(console: Path, lines: int = 15) -> str:
    try:
        text = console.read_text(errors="replace")
    except FileNotFoundError:
        return "  its console is empty"
    return "\n".join(f"  | {line}" for line in text.replace("\r", "").splitlines()[-lines:])

"""Whether KVM works here: proven by starting something tiny and seeing it answer. Entry point: ``prove_kvm``.

``/dev/kvm`` proves nothing: there are computers (clouds, nested ones) where it opens and a guest hardly runs: a few
thousand instructions take seconds, and a kernel never comes up. The proof is a boot sector that says a word on the
serial port and leaves QEMU by its debug exit, no slower than emulation does at the same moment (with KVM that works it
is several times faster). How it came out is kept until the computer's next boot.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rackbox.errors import LabError
from rackbox.run import run

QEMU = "qemu-system-x86_64"
DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
RECORD = Path("/run/rackbox/kvm.json")
TIMEOUT_S = 5.0
"""Some ten times what the boot sector takes when it is emulated."""
SLACK_S = 0.3
"""What starting QEMU may take longer with KVM than without."""
SOUND_TCG = 8
"""The first major version of QEMU whose emulation carries current kernels: 7.2 corrupts Linux 6.12 guests (double
faults, oopses), with any CPU model; 10.0 does not."""

_WORD = b"rackbox"
_EXIT_PORT = 0xF4
_EXIT_VALUE = 0x10
_EXIT_CODE = (_EXIT_VALUE << 1) | 1  # what QEMU's isa-debug-exit makes of the value


@dataclass(frozen=True, slots=True)
class Kvm:
    """``reason`` says in words how it came out; ``seconds`` is how long the boot sector took, 0 without an answer."""

    works: bool
    reason: str
    seconds: float = 0.0


def boot_sector() -> bytes:
    """512 bytes of real-mode code: write the word to COM1, then leave QEMU, or halt where there is no such device."""
    code = b"\xba\xf8\x03"  # mov dx, 0x3f8
    code += b"".join(b"\xb0" + bytes([letter]) + b"\xee" for letter in _WORD)  # mov al, letter; out dx, al
    code += bytes([0xB0, _EXIT_VALUE, 0xE6, _EXIT_PORT])  # mov al, value; out port, al
    code += b"\xf4\xeb\xfd"  # hlt; jmp back
    return code.ljust(510, b"\0") + b"\x55\xaa"


def prove_kvm(record: Path = RECORD) -> Kvm:
    """Whether a guest runs on KVM here. Asked once per boot of the computer and per QEMU."""
    if not DEVICE.exists():
        return Kvm(False, f"no {DEVICE}: no virtualisation, or switched off in the firmware")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Kvm(False, f"{DEVICE}: not readable and writable for this user")
    binary = shutil.which(QEMU)
    if binary is None:
        return Kvm(False, f"not tried without {QEMU}")
    key = f"{BOOT_ID.read_text().strip()} {os.stat(binary).st_mtime_ns}"
    try:
        known = json.loads(record.read_text())
        if known["key"] == key:
            return Kvm(bool(known["works"]), str(known["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    kvm = compare(try_accelerator("kvm"), try_accelerator("tcg"))
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        part = record.with_suffix(".part")
        part.write_text(json.dumps({"key": key, "works": kvm.works, "reason": kvm.reason}))
        part.replace(record)
    except OSError:
        pass  # a user who may not write there asks again
    return kvm


def compare(kvm: Kvm, emulated: Kvm) -> Kvm:
    """``kvm``, unless emulation is the faster of the two."""
    if kvm.works and emulated.works and kvm.seconds > emulated.seconds + SLACK_S:
        took = f"{kvm.seconds:.1f} s for what emulation does in {emulated.seconds:.1f} s"
        return Kvm(False, f"{DEVICE} opens, but a guest hardly runs: {took}", kvm.seconds)
    return kvm


def try_accelerator(accelerator: str, timeout: float = TIMEOUT_S) -> Kvm:
    """Boot the sector with QEMU's ``kvm`` or ``tcg``."""
    with tempfile.TemporaryDirectory(prefix="rackbox-kvm-") as work:
        image = Path(work) / "sector.img"
        image.write_bytes(boot_sector())
        machine = ["-accel", accelerator, "-m", "16", "-nodefaults", "-display", "none", "-no-reboot"]
        disk = ["-drive", f"file={image},format=raw,if=ide,snapshot=on"]
        ways_out = ["-serial", "stdio", "-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=1"]
        try:
            result = run([QEMU, *machine, *disk, *ways_out], timeout=timeout, check=False)
        except LabError as error:
            if "no end after" in error.message:
                return Kvm(False, f"{DEVICE} opens, but a guest does not run: no answer within {timeout:g} s")
            return Kvm(False, error.message.splitlines()[0])
    if result.returncode == _EXIT_CODE and _WORD.decode() in result.stdout:
        return Kvm(True, f"a guest ran and answered in {result.seconds:.1f} s", result.seconds)
    said = (result.stderr.strip().splitlines() or [f"exit {result.returncode}"])[-1]
    return Kvm(False, said)


def qemu_version() -> tuple[int, ...]:
    """Major, minor, … of the installed QEMU; empty where there is none."""
    if shutil.which(QEMU) is None:
        return ()
    said = run([QEMU, "--version"], timeout=10, check=False).stdout
    match = re.search(r"version (\d+(?:\.\d+)+)", said)
    return tuple(int(part) for part in match[1].split(".")) if match else ()

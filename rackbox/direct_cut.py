"""A container's power cut from within this process, without a program: the power switch's clients wait for it, and a
shell in the lab's namespaces takes 20 ms to start on a busy computer.

The process must be in the lab's network namespace (``rackbox.fence`` is). Entry point: ``DirectCut``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from rackbox.place import Place

CLONE_NEWNS = 0x00020000
"""setns(2)"""
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
"""netdevice(7)"""
CGROUPS = Path("/sys/fs/cgroup")
IFREQ = "16sH22x"
"""struct ifreq: a device's name, its flags."""


class DirectCut:
    """Made once, before the process starts a thread: the control groups are only seen in the place's mount namespace,
    and a thread may not go there."""

    def __init__(self, place: Place) -> None:
        with place.mount_file.open() as there, Path("/proc/self/ns/mnt").open() as here:
            where = Path.cwd()
            _enter_mounts(there.fileno())
            try:
                self._cgroups = os.open(CGROUPS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            finally:
                _enter_mounts(here.fileno())
                os.chdir(where)

    def __call__(self, ports: Sequence[str], group: str) -> None:
        """Take the ports down, then kill everything in the control group ``group`` (cgroup.kill, Linux 5.14). Raises
        ``OSError`` where that cannot be done in this way; nothing is undone."""
        for port in ports:
            take_down(port)
        handle = os.open(f"{group}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._cgroups)
        try:
            os.write(handle, b"1")
        finally:
            os.close(handle)


def take_down(port: str) -> None:
    """What is down already is left alone (the kernel's lock on devices may be held for long), or not there at all."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = port.encode()
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack(IFREQ, name, 0))
            flags: int = struct.unpack(IFREQ, answer)[1]
            if flags & IFF_UP:
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(IFREQ, name, flags & ~IFF_UP))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


def _enter_mounts(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def try_direct_cut(place: Place) -> DirectCut | None:
    """None where the kernel does not let this process have it."""
    with contextlib.suppress(OSError):
        return DirectCut(place)
    return None

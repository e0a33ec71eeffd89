"""What a box's tree must not hold: keys, certificates' private halves, and ids that two machines would share. Pure.

Entry point: ``check_tree``, which goes through a tar archive's members once, as they come.
"""

from __future__ import annotations

import re
import tarfile
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

LARGEST = 4 << 20
"""Bytes of the largest file that is searched for a key: they are small."""

_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*\n(?:[A-Za-z-]+: .*\n)*"
    rb"\s*[A-Za-z0-9+/=]{40,}+(?!\s*\n\s*\.\.\.)"
)
"""A key's head with a key behind it: programs that read keys hold the head alone (RFC 7468), and what explains them
goes on with three dots after the first line (Debian 12's cloud-init)."""

ELF = b"\x7fELF"
"""How a program begins: GnuTLS's library tests itself with keys that everybody knows."""

FORBIDDEN = {
    "etc/ssh/ssh_host_*": "an SSH host key",
    "etc/ssl/private/*": "a private key's place",
    "etc/corosync/authkey": "the cluster's key",
    "etc/corosync/q*/nssdb": "a certificate database",
    "etc/corosync/q*/*/nssdb": "a certificate database",
    "etc/pacemaker/authkey": "the cluster's key",
    "var/lib/glusterd/glusterd.info": "a Gluster server's id",
    "var/lib/dbus/machine-id": "a machine's id",
    "var/lib/systemd/random-seed": "a random seed",
    "var/lib/systemd/credential.secret": "a secret",
    "var/lib/cloud/instance*": "another machine's first boot",
    "var/lib/pcsd/*": "a daemon's keys",
    "var/lib/etcd/*": "another member's data",
    "root/.ssh/*": "somebody's access",
    "home/*/.ssh/*": "somebody's access",
    "*/key[34].db": "an NSS key database",
}
"""Patterns of paths (``*`` crosses directories), and what such a file is."""

EMPTY = frozenset({"etc/machine-id", "var/lib/private"})
"""May be there, and must then hold nothing."""


def check_tree(archive: tarfile.TarFile) -> list[str]:
    """One line for each thing that is wrong; empty for a tree that any number of machines may be made of."""
    problems = []
    seen = set()
    for member in archive:
        name = str(PurePosixPath(member.name))
        seen.add(name)
        what = next((what for pattern, what in FORBIDDEN.items() if fnmatchcase(name, pattern)), "")
        if what:
            problems.append(f"/{name}: {what}")
        elif name in EMPTY and member.isfile() and member.size:
            problems.append(f"/{name}: must be empty, or all machines have the same")
        elif member.isfile() and 0 < member.size <= LARGEST:
            stream = archive.extractfile(member)
            content = stream.read() if stream is not None else b""
            if not content.startswith(ELF) and _KEY.search(content):
                problems.append(f"/{name}: holds a private key")
    if "etc/machine-id" not in seen:
        problems.append("/etc/machine-id: must be there, empty: systemd takes a machine without it for its first boot")
    return problems

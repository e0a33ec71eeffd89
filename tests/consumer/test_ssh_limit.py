"""The limit on new SSH connections in a place of virtual machines, loaded into a network namespace of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rackbox.providers.libvirt import SSH_LIMIT

# As Vagrant's communicator does: ask again the moment it is refused.
ASK = """
import socket, time
end, refused = time.monotonic() + 3, 0
while time.monotonic() < end:
    try:
        socket.create_connection(("{address}", {port}), timeout=2)
    except ConnectionRefusedError:
        refused += 1
    except TimeoutError:
        pass
print(refused)
"""
# Loaded twice, as by an `up` of a lab that is up.
SCRIPT = """
set -eu
ip link set lo up
[ "$1" = free ] || { printf '%s' "$2" | nft -f -; printf '%s' "$2" | nft -f -; }
exec "$3" -c "$4"
"""


def refusals(limit: str, port: int) -> list[int]:
    """How often two addresses, one after the other, have refused within three seconds each."""
    asks = "".join(ASK.format(port=port, address=address) for address in ("127.0.0.1", "127.0.0.2"))
    argv = ["unshare", "--net", "sh", "-c", SCRIPT, "sh", limit, SSH_LIMIT, sys.executable, asks]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    return [int(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(60)
def test_who_asks_without_a_pause_is_slowed_down_at_ssh_and_nowhere_else() -> None:
    for refused in refusals("limited", 22):
        assert 5 <= refused <= 15  # each address has its own five, and two a second
    for refused in (*refusals("limited", 23), *refusals("free", 22)):
        assert refused > 200

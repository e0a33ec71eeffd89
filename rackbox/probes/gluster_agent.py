"""What ``gluster-write`` runs inside a worker: standard library only, sent there as text, started as
``python3 -u -c TEXT MOUNT RUN``. It imports nothing of rackbox and must stay that way.

Lines in: ``write SEQ``, ``check SEQ``, ``clear``, ``ping``. Lines out: ``WORD SEQ ok MILLISECONDS`` or
``WORD SEQ bad REASON``.
Each write has a thread of its own, so that one that hangs does not hold up the next. It ends with its input.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
import time

SIZE = 4096
MOST_AT_ONCE = 200


def content(run: str, number: str) -> bytes:
    """What file ``number`` must hold: known to whoever knows its name, and different in each."""
    return hashlib.sha256(f"{run}#{number}".encode()).digest() * (SIZE // 32)


class Agent:
    def __init__(self, mount: str, run: str) -> None:
        self._mount = mount
        self._run = run
        self._directory = os.path.join(mount, ".rackbox-probe", run)
        self._lock = threading.Lock()

    def obey(self, word: str, number: str) -> None:
        began = time.monotonic()
        try:
            getattr(self, f"do_{word}")(number)
        except OSError as error:
            self._say(f"{word} {number} bad {type(error).__name__}: {error}")
        else:
            self._say(f"{word} {number} ok {(time.monotonic() - began) * 1000:.1f}")

    def _say(self, line: str) -> None:
        with self._lock:
            print(" ".join(line.split()), flush=True)

    def do_write(self, number: str) -> None:
        if not os.path.ismount(self._mount):
            raise OSError(f"{self._mount} is not mounted")
        os.makedirs(self._directory, exist_ok=True)
        target = os.open(os.path.join(self._directory, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(target, content(self._run, number))
            os.fsync(target)
        finally:
            os.close(target)

    def do_check(self, number: str) -> None:
        source = os.open(os.path.join(self._directory, number), os.O_RDONLY)
        try:
            os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)  # from the servers, not from this machine's cache
            found = os.read(source, 2 * SIZE)
        finally:
            os.close(source)
        if hashlib.sha256(found).digest() != hashlib.sha256(content(self._run, number)).digest():
            raise OSError(f"{len(found)} bytes that differ from what was written")

    def do_ping(self, number: str) -> None:
        """Only the way there and back."""

    def do_clear(self, number: str) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def main() -> None:
    agent = Agent(sys.argv[1], sys.argv[2])
    print("ready - ok 0", flush=True)
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if threading.active_count() > MOST_AT_ONCE:
            print(f"{word} {number} bad {MOST_AT_ONCE} others hang already", flush=True)
            continue
        threading.Thread(target=agent.obey, args=(word, number or "-"), daemon=True).start()
    os._exit(0)  # a write that hangs must not keep this process


if __name__ == "__main__":
    main()

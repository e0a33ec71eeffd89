"""Runs the address watchers: ``python -m rackbox.watchers.runner HISTORY SECONDS '{"lb1": [ARGV…], …}'``.

One ssh connection to each machine, its lines stamped as they arrive by this computer's monotonic clock. A machine that
says nothing is noted as lost, which is not the same as having let go of the address: a frozen one still holds it. The
connection is made again for as long as the watchers live, so a machine that was rebooted or fenced comes back. Ends
like a probe's runner: when its standard input is closed, on SIGTERM, or when its time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rackbox.history import JsonValue, Record
from rackbox.probes.runner import raise_priority
from rackbox.recorder import Recorder
from rackbox.watchers.addresses import SILENT_SECONDS, parse_word

RETRY_SECONDS = 0.5
CONNECT_SECONDS = 10.0


class Watcher:
    """One machine's."""

    def __init__(self, machine: str, argv: Sequence[str], recorder: Recorder) -> None:
        self._machine = machine
        self._argv = argv
        self._recorder = recorder
        self._held: bool | None = None
        self._lost = True
        self._last_words = ""

    async def run(self) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                await self._listen(process)
                with contextlib.suppress(TimeoutError):  # one that ends of itself has an exit code to tell
                    await asyncio.wait_for(process.wait(), 0.2)
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                code = await process.wait()
            self._lose(f"the connection ended ({code})")
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Until the connection ends, or never began. A silent one is kept: a machine that thaws goes on speaking."""
        if process.stdout is None:
            return
        spoke = False
        while True:
            reading = asyncio.ensure_future(process.stdout.readline())
            try:
                done, _ = await asyncio.wait({reading}, timeout=SILENT_SECONDS if spoke else CONNECT_SECONDS)
                if not done:
                    if not spoke:
                        return
                    self._lose(f"silent for {SILENT_SECONDS:g} s")
                line = (await reading).decode(errors="replace")
            finally:
                reading.cancel()
            if not line:
                return
            spoke = True
            self._take(line, time.monotonic())

    def _take(self, line: str, arrived: float) -> None:
        word = parse_word(line)
        if word is None:
            return
        if word.held != self._held or self._lost:
            fields: dict[str, JsonValue] = {"held": word.held, "wall_guest": round(word.wall_guest, 6)}
            self._recorder.append(Record(arrived, time.time(), self._recorder.source, "address", fields))
        self._held, self._lost = word.held, False

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self._recorder.write("watch-lost", reason=reason)


async def watch(machines: dict[str, list[str]], history: Path, seconds: float) -> None:
    """Watch until told to end; returns when every connection is gone."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(PermissionError):  # not a pipe: then a signal or the time ends it
        loop.add_reader(sys.stdin.fileno(), _end_with_input, loop, stop)
    with contextlib.ExitStack() as stack:
        tasks = [
            loop.create_task(Watcher(name, argv, stack.enter_context(Recorder(history, f"watch:{name}"))).run())
            for name, argv in machines.items()
        ]
        ending = loop.create_task(stop.wait())
        await asyncio.wait({ending, *tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (ending, *tasks):
            if task.done() and task is not ending:
                task.result()  # a watcher never ends of itself: this is a bug, told with its traceback
            task.cancel()
        await asyncio.gather(ending, *tasks, return_exceptions=True)


def _end_with_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


def main(argv: Sequence[str]) -> int:
    history, seconds, machines = argv
    raise_priority()
    asyncio.run(watch(json.loads(machines), Path(history), float(seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Writes files to the shared volume from inside a worker, each flushed (fsync) before it counts, and reads all of them
back at the end by checksum.

The writing is done by ``gluster_agent`` in the worker, at the other end of one ssh connection over the management
network, which faults do not touch. Both ends of an attempt are stamped here, by this computer's clock, so the
connection's own round trip (``link_ms`` in the history) is part of every figure and no clocks need be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rackbox.history import JsonValue
from rackbox.probes.base import LastingProbe, ProbeFailed, ProbeSettings, audit_figures
from rackbox.probes.endpoints import GuestEndpoint

AGENT = Path(__file__).with_name("gluster_agent.py")
RETRY_SECONDS = 0.5
_PINGS = 5
_CHECKS_AT_ONCE = 32


class GlusterWrite(LastingProbe[GuestEndpoint]):
    name = "gluster-write"
    summary = "a write and fsync to the shared volume from a worker, read back at the end"
    aims_at = GuestEndpoint
    pace = 5
    audits = True
    at_client = False

    def __init__(self, settings: ProbeSettings, endpoint: GuestEndpoint) -> None:
        super().__init__(settings, endpoint)
        guest = ["python3", "-u", "-c", AGENT.read_text(), endpoint.mount, settings.run_id]
        self._argv = [*endpoint.argv, shlex.join(guest)]
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._acknowledged: list[str] = []
        self._sound: set[str] = set()
        self._damage = ""
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._aside: asyncio.Task[None] | None = None

    async def attempt(self, seq: int) -> str:
        self.raise_its_end()
        await self._ready.wait()
        milliseconds = await self._ask("write", f"{seq:08d}")
        self._acknowledged.append(f"{seq:08d}")
        return f"{milliseconds} ms in {self.endpoint.machine}"

    def overdue(self, seq: int) -> str:
        return "" if self._ready.is_set() else f"no connection to {self.endpoint.machine}"

    async def audit(self) -> Mapping[str, JsonValue]:
        async with asyncio.timeout(3.0):
            await self._ready.wait()
        # Each takes some tens of milliseconds, and a try that was cut short goes on where it was.
        left = iter([number for number in self._acknowledged if number not in self._sound])
        await asyncio.gather(*(self._check_all(left) for _ in range(_CHECKS_AT_ONCE)))
        lost = [number for number in self._acknowledged if number not in self._sound]
        if not lost:
            await self._ask("clear", "-")
        return audit_figures(len(self._acknowledged), lost, of="files", detail=self._damage)

    async def _check_all(self, numbers: Iterator[str]) -> None:
        for number in numbers:
            try:
                await self._ask("check", number)
            except ProbeFailed as error:
                self._damage = self._damage or str(error)
            else:
                self._sound.add(number)

    async def _ask(self, word: str, number: str) -> str:
        """The agent's answer; raises ``ProbeFailed`` when it is a bad one, or when the connection ends."""
        process, name = self._process, f"{word} {number}"
        if process is None or process.stdin is None:
            raise ProbeFailed(f"no connection to {self.endpoint.machine}")
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[name] = answer
        try:
            process.stdin.write(f"{name}\n".encode())
            return await answer
        finally:
            self._waiting.pop(name, None)

    async def last(self) -> None:
        """One connection after another, for as long as the probe lives."""
        while True:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                await self._listen(process)
            finally:
                self._process = None
                self._ready.clear()
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                await process.wait()
                for answer in self._waiting.values():
                    if not answer.done():
                        answer.set_exception(ProbeFailed(f"the connection to {self.endpoint.machine} ended"))
            self.note("probe-note", message=f"the connection to {self.endpoint.machine} ended")
            await asyncio.sleep(RETRY_SECONDS)

    async def _measure_link(self) -> None:
        trips = []
        for number in range(_PINGS):
            asked = time.monotonic()
            try:
                await self._ask("ping", f"{number}")
            except (ProbeFailed, OSError):
                return
            trips.append(time.monotonic() - asked)
        self.note("link", machine=self.endpoint.machine, link_ms=round(sorted(trips)[_PINGS // 2] * 1000, 3))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise ProbeFailed("no output to read")  # not reached: it was asked for
        async for line in process.stdout:
            word, number, outcome, text = [*line.decode(errors="replace").strip().split(" ", 3), "", "", "", ""][:4]
            if word == "ready":
                self._process = process
                self._ready.set()
                self._aside = asyncio.get_running_loop().create_task(self._measure_link())
                continue
            answer = self._waiting.get(f"{word} {number}")
            if answer is None or answer.done():
                continue  # its time was up
            if outcome == "ok":
                answer.set_result(text)
            else:
                answer.set_exception(ProbeFailed(text or "the agent says no"))

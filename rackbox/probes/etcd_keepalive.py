"""Reads from etcd over connections that are kept, as a pooling client has them: an idle one is used again, a new one
made when there is none, or when the idle one turns out to be broken.

As such clients do (RFC 9112, section 9.3.1), a request on a kept connection that ended before any answer came is sent
once more on a new one; it is a read, so that harms nothing. The detail says when a connection had to be made anew.
"""

from __future__ import annotations

import json

from rackbox.probes.base import Probe, ProbeFailed, ProbeSettings
from rackbox.probes.endpoints import EtcdEndpoint
from rackbox.probes.etcd import PREFIX, encode, member_of, read_answer
from rackbox.probes.https import Connection, make_context

POOL_SIZE = 4


class EtcdKeepalive(Probe[EtcdEndpoint]):
    name = "etcd-keepalive"
    summary = "a linearizable etcd read over kept connections"
    aims_at = EtcdEndpoint
    pace = 2

    def __init__(self, settings: ProbeSettings, endpoint: EtcdEndpoint) -> None:
        super().__init__(settings, endpoint)
        self._context = make_context(endpoint)
        self._message = json.dumps({"key": encode(PREFIX)}).encode()
        self._idle: list[Connection] = []
        self._anew: dict[int, str] = {}

    async def attempt(self, seq: int) -> str:
        reason = "none idle"
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_quiet():
                reason = "idle one closed"
                connection.abort()
                continue
            try:
                return await self._ask(connection)
            except (OSError, EOFError) as error:
                reason = f"idle one broken: {str(error) or type(error).__name__}"[:80]
                break  # the others may be broken, too: each finds that out for itself
        self._anew[seq] = words = f"new connection ({reason})"
        try:
            member = await self._ask(await Connection.open(self.endpoint, self._context))
        except (OSError, EOFError) as error:
            del self._anew[seq]
            raise ProbeFailed(f"{words}: {str(error) or type(error).__name__}") from error
        del self._anew[seq]
        return f"{member} {words}"

    def overdue(self, seq: int) -> str:
        return self._anew.pop(seq, "on a kept connection")

    async def stop(self) -> None:
        while self._idle:
            self._idle.pop().abort()

    async def _ask(self, connection: Connection) -> str:
        try:
            answer = await connection.post("/v3/kv/range", self._message, keep=True)
        except BaseException:
            connection.abort()
            raise
        if connection.reusable and len(self._idle) < POOL_SIZE:
            self._idle.append(connection)
        else:
            connection.close()
        return member_of(read_answer(answer))

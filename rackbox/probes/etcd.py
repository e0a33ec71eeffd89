"""etcd's JSON gateway as the probes use it: keys and values in base64, numbers as text.

The paths and messages are those of etcd's API reference for v3 (``/v3/kv/range``, ``/v3/kv/put``, ``/v3/watch``).
"""

from __future__ import annotations

import base64
import json
import ssl
from typing import Any

from rackbox.probes.base import ProbeFailed
from rackbox.probes.endpoints import EtcdEndpoint
from rackbox.probes.https import post, read_json

PREFIX = "/rackbox/probe/"


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")


def prefix_end(prefix: str) -> str:
    """The first key after all that begin with ``prefix`` (an ASCII one)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


async def call(endpoint: EtcdEndpoint, context: ssl.SSLContext, method: str, message: dict[str, Any]) -> dict[str, Any]:
    """One call of ``/v3/kv/<method>`` on a connection of its own."""
    return read_answer(await post(endpoint, context, f"/v3/kv/{method}", json.dumps(message).encode()))


def read_answer(answer: bytes) -> dict[str, Any]:
    """An answer without etcd's header is a failure: something else answered."""
    data = read_json(answer)
    if not isinstance(data.get("header"), dict):
        raise ProbeFailed(f"not an answer of etcd: {answer[:60]!r}")
    return data


def member_of(answer: dict[str, Any]) -> str:
    """Which etcd member answered, in the hexadecimal form that ``etcdctl`` shows."""
    identity = str(answer["header"].get("member_id", ""))
    return f"{int(identity):x}" if identity.isdigit() else ""


def revision_of(answer: dict[str, Any]) -> int:
    """The store's revision when it answered; 0 if it does not say."""
    text = str(answer["header"].get("revision", ""))
    return int(text) if text.isdigit() else 0

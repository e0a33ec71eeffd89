"""The Kubernetes API as the probes use it: its administrator's certificate, JSON, and objects that carry a label of
ours.

Paths and messages are those of the Kubernetes API reference. Each call is one request on a connection of its own,
unless it is given one, and never tries again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Collection, Mapping
from typing import Any

from rackbox.probes.base import ProbeFailed
from rackbox.probes.endpoints import TlsEndpoint
from rackbox.probes.https import read_json, request

NAMESPACE = "default"
LABEL = "rackbox-probe"
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


def name_run(run_id: str) -> str:
    """A run as the value of a label, and as the beginning of names: lower case, short, and its own."""
    return "p" + hashlib.sha256(run_id.encode()).hexdigest()[:12]


def config_map(run: str, name: str, text: str) -> bytes:
    """A small object to be written."""
    metadata = {"name": name, "labels": {LABEL: run}}
    return json.dumps({"metadata": metadata, "data": {"text": text}}).encode()


async def call(
    endpoint: TlsEndpoint,
    context: ssl.SSLContext,
    method: str,
    path: str,
    message: Mapping[str, Any] | None = None,
    *,
    content: str = "application/json",
    good: Collection[str] = ("200", "201"),
) -> dict[str, Any]:
    """One request. ``message`` is its body. Raises ``ProbeFailed`` for an answer that is none of the API's."""
    body = b"" if message is None else json.dumps(message).encode()
    _, answer = await request(endpoint, context, method, path, body, content=content, good=good)
    data = read_json(answer)
    if not isinstance(data.get("kind"), str):
        raise ProbeFailed(f"not an answer of the Kubernetes API: {answer[:60]!r}")
    return data


async def apply(endpoint: TlsEndpoint, context: ssl.SSLContext, path: str, thing: Mapping[str, Any]) -> dict[str, Any]:
    """Make ``thing`` be as it says, whatever is there (server-side apply)."""
    name = thing["metadata"]["name"]
    return await call(
        endpoint, context, "PATCH", f"{path}/{name}?fieldManager=rackbox&force=true", thing, content=APPLY
    )


async def remove_run(endpoint: TlsEndpoint, context: ssl.SSLContext, run: str) -> None:
    """All config maps of a run."""
    await call(endpoint, context, "DELETE", f"{CONFIG_MAPS}?labelSelector={LABEL}%3D{run}")


async def patiently(seconds: float, what: str, look: Any) -> Any:
    """What ``look`` gives (a coroutine function; None: not yet), asked again after a while, for ``seconds`` at most."""
    last = "nothing"
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        try:
            async with asyncio.timeout(2.0):
                if (found := await look()) is not None:
                    return found
            last = "not yet"
        except (OSError, EOFError, ProbeFailed, TimeoutError) as error:
            last = str(error) or type(error).__name__
        await asyncio.sleep(0.2)
    raise ProbeFailed(f"{what}: not within {seconds:g} s; last seen: {last}")


def revision_of(thing: Mapping[str, Any]) -> int:
    """An object's, or a list's, revision. It is etcd's and counts up; since Kubernetes 1.35 that is promised."""
    text = str(thing.get("metadata", {}).get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0

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
NAMESPACES = "/api/v1/namespaces"
LABEL = "rackbox-probe"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
API_PACE = 10
"""Of each probe that opens a connection for every request: with three of them at twice the rate two processors were
busy before anything was broken."""


def name_run(run_id: str) -> str:
    """A run as the name of a namespace, and as the beginning of names: lower case, short, and its own."""
    return "rackbox-probe-" + hashlib.sha256(run_id.encode()).hexdigest()[:12]


def config_maps(run: str) -> str:
    """The path of a run's own ones."""
    return f"{NAMESPACES}/{run}/configmaps"


def config_map(name: str, text: str) -> dict[str, Any]:
    """A small object to be written."""
    return {"metadata": {"name": name}, "data": {"text": text}}


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


async def open_run(endpoint: TlsEndpoint, context: ssl.SSLContext, run: str) -> None:
    """Make a run's namespace, unless it is there."""
    message = {"metadata": {"name": run, "labels": {LABEL: "run"}}}
    await call(endpoint, context, "POST", NAMESPACES, message, good=("201", "409"))


async def remove_run(endpoint: TlsEndpoint, context: ssl.SSLContext, run: str) -> None:
    """All that a run has written: one request, after which the cluster does it by itself."""
    await call(endpoint, context, "DELETE", f"{NAMESPACES}/{run}", good=("200", "202", "404"))


async def find_coredns_image(endpoint: TlsEndpoint, context: ssl.SSLContext) -> str:
    """The image of the cluster's own DNS: a small server that every cluster has at hand."""
    path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    found = await call(endpoint, context, "GET", path)
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


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

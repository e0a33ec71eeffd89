"""A service of type LoadBalancer with one small pod behind it, asked by HTTP from where clients stand, on a new
connection each time.

The pod is CoreDNS with nothing but its page for readiness, because every bundle has that image. When its worker is gone
it is given up after two seconds (``tolerationSeconds``) instead of the usual five minutes: how long the cluster takes
to know that is what is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from rackbox.probes.base import ProbeFailed
from rackbox.probes.cluster_service import ClusterService
from rackbox.probes.endpoints import ClusterServiceEndpoint
from rackbox.probes.kubernetes_api import LABEL, NAMESPACE, find_coredns_image

NAME = "rackbox-probe-http"
RUN = "http"
PORT = 8181
GIVE_UP_SECONDS = 2
_CORE = f"/api/v1/namespaces/{NAMESPACE}"
_COREFILE = f".:1053 {{\n    ready :{PORT}\n}}\n"


class ServiceHttp(ClusterService):
    name = "service-http"
    summary = "HTTP to a service of type LoadBalancer with one pod"
    aims_at = ClusterServiceEndpoint
    pace = 5
    service = f"{_CORE}/services/{NAME}"

    async def plan_objects(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        image = await find_coredns_image(self.endpoint, self.context)
        return (
            (f"{_CORE}/configmaps", _config_map()),
            (f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", plan_deployment(image)),
            (f"{_CORE}/services", _service()),
        )

    async def ask(self) -> str:
        reader, writer = await asyncio.open_connection(self.address, PORT)
        try:
            writer.write(f"GET /ready HTTP/1.1\r\nHost: {self.address}\r\nConnection: close\r\n\r\n".encode())
            first = (await reader.readline()).decode("latin-1").strip()
            await reader.read()
        finally:
            writer.close()
        if " 200 " not in f"{first} ":
            raise ProbeFailed(f"not well: {first[:60]!r}")
        return ""


def _labels() -> dict[str, str]:
    return {LABEL: RUN}


def _config_map() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "labels": _labels()},
        "data": {"probe": _COREFILE},
    }


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "labels": _labels()},
        "spec": {"type": "LoadBalancer", "selector": _labels(), "ports": [{"name": "http", "port": PORT}]},
    }


def plan_deployment(image: str) -> dict[str, Any]:
    """One pod on a worker, given up soon after its machine is."""
    give_up = [
        {"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute"}
        | {"tolerationSeconds": GIVE_UP_SECONDS}
        for why in ("not-ready", "unreachable")
    ]
    container = {
        "name": "http",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/probe/probe"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "probe", "mountPath": "/etc/probe"}],
    }
    spec = {
        "containers": [container],
        "tolerations": give_up,
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "probe", "configMap": {"name": NAME}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "labels": _labels()},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _labels()},
            "template": {"metadata": {"labels": _labels()}, "spec": spec},
        },
    }

"""The cluster's own DNS, asked for the API's name from where clients stand: one UDP question, one answer, as in
``dns``.

Inside the cluster it is a service that clients of the lab do not reach, so a second one of type LoadBalancer is laid in
front of the same pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rackbox.probes.base import ProbeFailed
from rackbox.probes.cluster_service import ClusterService
from rackbox.probes.dns import look_up
from rackbox.probes.endpoints import ClusterServiceEndpoint
from rackbox.probes.kubernetes_api import LABEL, call

NAME = "rackbox-probe-dns"
NAMESPACE = "/api/v1/namespaces/kube-system"
LOOKED_UP = "kubernetes.default.svc.cluster.local"


class ClusterDns(ClusterService):
    name = "cluster-dns"
    summary = "a lookup of the API's name at the cluster's own DNS"
    aims_at = ClusterServiceEndpoint
    pace = 2
    service = f"{NAMESPACE}/services/{NAME}"

    async def plan_objects(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        own = await call(self.endpoint, self.context, "GET", "/api/v1/namespaces/default/services/kubernetes")
        self._expected = str(own["spec"]["clusterIP"])
        return ((f"{NAMESPACE}/services", _service()),)

    async def ask(self) -> str:
        found = await look_up(self.address, 53, LOOKED_UP)
        if found != [self._expected]:
            raise ProbeFailed(f"{LOOKED_UP}: {', '.join(found) or 'no address'}")
        return ""


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "labels": {LABEL: "dns"}},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"k8s-app": "kube-dns"},
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}],
        },
    }

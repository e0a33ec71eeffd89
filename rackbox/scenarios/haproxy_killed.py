"""HAProxy is killed on the balancer that holds the floating IP. Somebody must notice and start it again, or the
address must move; a client must be served again within the budget."""

from __future__ import annotations

from rackbox.scenarios.base import SERVICE, Scenario

SCENARIO = Scenario(
    name="haproxy-killed",
    summary="HAProxy killed (SIGKILL, all processes) on the floating IP's holder",
    fault="haproxy-killed",
    target="vip-holder",
    probes=(*SERVICE, "etcd-keepalive", "etcd-watch"),
)

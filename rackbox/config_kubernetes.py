"""The config's section ``kubernetes``: which Kubernetes the lab carries, where it comes from, and its networks."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import Annotated, Any

from rackbox.fields import CIDR, RANGES, AddressRange, Rule, choice, text_of
from rackbox.section import DnsLabel, Section, key

# Open lists: a new source, runtime or proxy is a name here and one file, or a template's branch, where its kind lives.
SOURCES = ("auto", "bundle", "packages", "none")
RUNTIMES = ("containerd", "docker")
ETCD_PLACES = ("external", "stacked")
PROXY_MODES = ("nftables", "iptables")
INGRESSES = ("traefik", "none")

API_PORT = 6443
API_SERVICE = "api"
ETCD_HEALTH_PORT = 2381
"""Where etcd says by HTTP whether it is well, and its metrics: kubeadm's number, in every lab with Kubernetes."""

# The service that a lab with Kubernetes has unless it lists one of that name itself.
API: dict[str, Any] = {
    "name": API_SERVICE,
    "port": API_PORT,
    "backend": "master",
    # Not /healthz or the bare port: a server that has started, but has no etcd, or hangs, is not ready.
    # One that is slow is left alone, since taking it out makes it and the others slower (`patient`): four checks of a
    # second each. One without its etcd looks slow, since it asks again and again before it says so: etcd is asked
    # first, and where it is gone that is known in no time.
    "check": {
        "type": "https",
        "path": "/readyz",
        "first_port": ETCD_HEALTH_PORT,
        "first_path": "/livez",
        "interval": "1s",
        "fast_interval": "200ms",
        "fall": 4,
        "patient": True,
    },
}

INGRESS_LABEL = "apps"
"""Below the lab's domain: every name there stands for the floating IP."""
INGRESS_WEB = "ingress-http"
# Ports of the workers for Traefik. Kubernetes gives none of the range's first 86 to who asks for just any.
NODE_PORT_WEB, NODE_PORT_WEBSECURE, NODE_PORT_PING = 30010, 30011, 30012


def _ingress(name: str, port: int, node_port: int) -> dict[str, Any]:
    return {
        "name": name,
        "port": port,
        "backend": "worker",
        "backend_port": node_port,
        # Traefik's own word, at a port that the balancers alone ask: a worker whose Traefik ends says so beforehand.
        "check": {"type": "http", "path": "/ping", "port": NODE_PORT_PING, "interval": "1s", "fast_interval": "200ms"},
        "proxy_protocol": True,
    }


# The services that a lab with an ingress controller has, as far as it does not use their ports and names otherwise.
INGRESS: tuple[dict[str, Any], ...] = (
    _ingress(INGRESS_WEB, 80, NODE_PORT_WEB),
    _ingress("ingress-https", 443, NODE_PORT_WEBSECURE),
)


def _parse_version(value: Any) -> str:
    wanted = 'a minor or a release of Kubernetes in quotes, such as "1.36" or "1.36.3"'
    text = text_of(value, wanted)
    if not re.fullmatch(r"1\.[0-9]{1,3}(\.[0-9]{1,3})?", text):
        raise ValueError(f"must be {wanted}")
    return text


def _parse_directory(value: Any) -> str:
    text = text_of(value, "a directory")
    if not text or not text.isprintable():
        raise ValueError("must be a directory")
    return text


VERSION = Rule(_parse_version, {"type": "string", "pattern": r"^1\.[0-9]+(\.[0-9]+)?$"})
DIRECTORY = Rule(_parse_directory, {"type": "string"})


class KubernetesConfig(Section):
    source: Annotated[str, choice(*SOURCES)] = key(
        "auto",
        "Where it comes from. bundle: an offline bundle. packages: the project's own repository and registry. "
        "none: nowhere, the lab comes without. auto: a bundle if there is one, else packages if they can be reached, "
        "else none; `plan`, `up` and `status` say which, and why.",
    )
    version: Annotated[str | None, VERSION.optional()] = key(
        None, "The minor (1.36) or release (1.36.3) that it must be. Default: the newest there is."
    )
    bundle: Annotated[str | None, DIRECTORY.optional()] = key(
        None, "A bundle's directory, from this file's place on. Default: the newest one that `bundle` has made."
    )
    runtime: Annotated[str, choice(*RUNTIMES)] = key(
        "containerd",
        "What runs the containers. docker: Docker Engine, which the kubelets speak to through cri-dockerd; of a bundle "
        "made by `bundle --docker`.",
    )
    etcd: Annotated[str, choice(*ETCD_PLACES)] = key(
        "external",
        "external: etcd is a service of the masters' own, which systemd starts. stacked: a pod of the control plane, "
        "which the kubelet starts, as kubeadm has it; three masters or more. Clients see the same etcd.",
    )
    pod_network: Annotated[IPv4Network, CIDR] = key(
        "10.244.0.0/16", "The pods' addresses: a /24 of it for each machine."
    )
    service_network: Annotated[IPv4Network, CIDR] = key("10.96.0.0/12", "The services' addresses inside the cluster.")
    pool: Annotated[tuple[AddressRange, ...] | None, RANGES.optional()] = key(
        None,
        "Addresses for services of type LoadBalancer, on the workers' network. Default: what is `reserved` there.",
    )
    proxy: Annotated[str, choice(*PROXY_MODES)] = key("nftables", "How kube-proxy leads to a service's pods.")
    ingress: Annotated[str, choice(*INGRESSES)] = key(
        "traefik",
        "What serves Ingresses on the floating IP, ports 80 and 443, and at every name below apps.<domain>. Labs "
        "without balancers, and bundles without Traefik, have none; `plan`, `up` and `status` say so.",
    )
    cluster: DnsLabel = key("kubernetes", "The cluster's name in its own files.")

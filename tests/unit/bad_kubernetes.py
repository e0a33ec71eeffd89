"""Clusters that cannot be, and what a user is told about each. Data for ``test_bad_configs``."""

from __future__ import annotations

from tests.unit.bad_configs import Bad

# ``kubernetes:`` stands on line 7, its first key on line 8.
CLUSTER = "name: lab\nnodes:\n  gateway:\n  lb:\n  master:\n  worker:\nkubernetes:\n"

KUBERNETES = [
    Bad(
        "cluster: no masters",
        "name: lab\nnodes:\n  gateway:\n  worker:\nkubernetes:\n",
        5,
        "kubernetes",
        "(nodes.master); got none",
    ),
    Bad(
        "cluster: no workers",
        "name: lab\nnodes:\n  gateway:\n  master: {count: 1}\nkubernetes:\n",
        5,
        "kubernetes",
        "(nodes.worker)",
    ),
    Bad(
        "cluster: three masters, no balancers",
        "name: lab\nnodes:\n  gateway:\n  master:\n  worker:\nkubernetes:\n",
        6,
        "kubernetes",
        "must come with balancers before several masters (nodes.lb); got 3 masters",
    ),
    Bad(
        "cluster: stacked etcd on one master",
        CLUSTER.replace("master:", "master: {count: 1}") + "  etcd: stacked\n",
        8,
        "kubernetes.etcd",
        "must come with 3 masters or more (nodes.master); got 1",
    ),
    Bad(
        "cluster: odd source",
        CLUSTER + "  source: internet\n",
        8,
        "kubernetes.source",
        "must be one of auto, bundle, packages, none",
    ),
    Bad("cluster: version is a number", CLUSTER + "  version: 1.36\n", 8, "kubernetes.version", "in quotes"),
    Bad("cluster: version with a v", CLUSTER + "  version: v1.36.3\n", 8, "kubernetes.version", "got v1.36.3"),
    Bad(
        "cluster: runtime",
        CLUSTER + "  runtime: podman\n",
        8,
        "kubernetes.runtime",
        "must be containerd or docker; got podman",
    ),
    Bad(
        "cluster: docker on an older system",
        f"os: debian-12\n{CLUSTER}  runtime: docker\n",
        9,
        "kubernetes.runtime",
        "must be containerd with os: debian-12 (bundles have Docker Engine as debian-13 has it); got docker",
    ),
    Bad("cluster: odd etcd", CLUSTER + "  etcd: none\n", 8, "kubernetes.etcd", "must be external or stacked; got none"),
    Bad(
        "cluster: pods in the lab",
        CLUSTER + "  pod_network: 192.168.0.0/16\n",
        8,
        "kubernetes.pod_network",
        "must not overlap networks.dmz (192.168.4.0/24); got 192.168.0.0/16",
    ),
    Bad(
        "cluster: services in the management network",
        CLUSTER + "  service_network: 10.64.0.0/12\n",
        8,
        "kubernetes.service_network",
        "must not overlap management (10.77.0.0/16)",
    ),
    Bad(
        "cluster: pods among services",
        CLUSTER + "  pod_network: 10.96.0.0/16\n",
        7,
        "kubernetes.service_network",
        "must not overlap kubernetes.pod_network (10.96.0.0/16)",
    ),
    Bad(
        "cluster: pods have no room",
        CLUSTER + "  pod_network: 10.244.0.0/22\n",
        8,
        "kubernetes.pod_network",
        "must have room for 5 machines, a /24 each; got 10.244.0.0/22 (4)",
    ),
    Bad(
        "cluster: too many services",
        CLUSTER + "  service_network: 172.0.0.0/9\n",
        8,
        "kubernetes.service_network",
        "from /12 to /24",
    ),
    Bad(
        "cluster: pool elsewhere",
        CLUSTER + "  pool: 192.168.4.100-192.168.4.110\n",
        8,
        "kubernetes.pool",
        "must be inside of node (192.168.2.0/24), the workers'; got 192.168.4.100-192.168.4.110",
    ),
    Bad(
        "cluster: pool not kept free",
        CLUSTER + "  pool: 192.168.2.200\n",
        8,
        "kubernetes.pool",
        "networks.node.reserved",
    ),
    Bad(
        "cluster: bundle beside packages",
        CLUSTER + "  source: packages\n  bundle: here\n",
        9,
        "kubernetes.bundle",
        "must not be given beside source: packages; got here",
    ),
    Bad(
        "cluster: little memory",
        "name: lab\nnodes:\n  gateway:\n  lb:\n  master: {memory: 1G}\n  worker:\nkubernetes:\n",
        5,
        "nodes.master.memory",
        "must be at least 1536M with kubernetes; got 1G",
    ),
    Bad(
        "cluster: the API elsewhere",
        CLUSTER + "load_balancer:\n  services:\n    - {name: api, port: 443, backend_port: 6443, backend: master}\n",
        10,
        "load_balancer.services[0].port",
        "must be 6443, where the machines ask for the API; got 443",
    ),
    Bad(
        "cluster: Ingresses without balancers",
        "name: lab\nnodes:\n  gateway:\n  master: {count: 1}\n  worker:\nkubernetes:\n  ingress: traefik\n",
        7,
        "kubernetes.ingress",
        "must come with balancers, whose ports 80 and 443 lead to it (nodes.lb); got traefik",
    ),
    Bad(
        "cluster: another ingress controller",
        CLUSTER + "  ingress: nginx\n",
        8,
        "kubernetes.ingress",
        "must be traefik or none; got nginx",
    ),
    Bad(
        "cluster: a service in the Ingresses' place",
        CLUSTER + "load_balancer:\n  services:\n    - {name: apps, port: 8080, backend: worker}\n",
        10,
        "load_balancer.services[0].name",
        "must be unique; apps is the domain of the Ingresses already; got apps",
    ),
    Bad(
        "a check by http without a path",
        CLUSTER + "load_balancer:\n  services:\n    - {name: web, port: 8080, backend: worker, check: {type: http}}\n",
        10,
        "load_balancer.services[0].check.path",
        "must be given for http; got nothing",
    ),
    Bad(
        "cluster: a volume in the runtime's place",
        "name: lab\nnodes:\n  gateway:\n  lb:\n  master: {volumes: {data: {size: 1G, mount: /var/lib/containerd}}}\n"
        "  worker:\nkubernetes:\n",
        5,
        "nodes.master.volumes.data.mount",
        "must be another path: containerd is there; got /var/lib/containerd",
    ),
    Bad("cluster: unknown key", CLUSTER + "  bundel: here\n", 8, "kubernetes.bundel", "did you mean bundle?"),
]

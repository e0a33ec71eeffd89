"""What runs containers on a cluster's nodes, as data: where kubelets find it, its units, how images get into it. Pure.

Entry points: ``runtime_of``, ``RUNTIMES``. A bundle is enough for a runtime by ``rackbox.bundle.RUNTIMES``.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rackbox.topology import Topology


@dataclass(frozen=True, slots=True)
class Runtime:
    """``endpoint`` is where kubelets speak to it, ``data`` the directory of what it has, on a volume; ``units`` are its
    services, the one with the endpoint first; in that order they are stopped. ``load`` is a command that takes an
    archive on its standard input; ``listing`` is bash that prints reference and identity of those of the images in
    ``$@`` which are there: the digest of the image's manifest, or ``by_config`` that of its config."""

    name: str
    endpoint: str
    data: str
    units: tuple[str, ...]
    load: str
    listing: str
    by_config: bool = False

    def list_images(self, references: Collection[str]) -> str:
        """Bash that prints a line for each of these images that is there: reference, identity."""
        return f"set -- {shlex.join(sorted(references))}\n{self.listing}"


RUNTIMES: Mapping[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            "containerd",
            "unix:///run/containerd/containerd.sock",
            "/var/lib/containerd",
            ("containerd.service",),
            "ctr --namespace k8s.io images import -",
            "ctr --namespace k8s.io images ls | awk 'NR > 1 { print $1, $3 }'",
        ),
        Runtime(
            "docker",
            "unix:///run/cri-dockerd.sock",
            "/var/lib/containerd/docker",  # the volume that all nodes have: their containerd is below Docker Engine
            ("cri-docker.service", "docker.service", "containerd.service"),
            "docker load --quiet",
            """for image; do
  if id=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null); then printf '%s %s\\n' "$image" "$id"; fi
done""",
            by_config=True,
        ),
    )
}


def runtime_of(topology: Topology) -> Runtime:
    """What runs the containers of the lab's workers; without a cluster containerd, which is there for whoever asks."""
    return RUNTIMES[topology.kubernetes.runtime if topology.kubernetes else "containerd"]

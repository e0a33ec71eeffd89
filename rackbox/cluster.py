"""What is asked of a lab's cluster when its machines come and go: a node is emptied before it leaves, takes pods again
when it is back, and is forgotten when it is gone for good. By the bundle's own kubectl, from where clients stand.

Entry points: ``drain``, ``uncordon``, ``forget_strangers``.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from rackbox.errors import MachineError
from rackbox.kubeconfig import INSIDE, require_cluster
from rackbox.lab import LiveLab
from rackbox.run import Result, run
from rackbox.wait import NotYet, wait_for

DRAIN_SECONDS = 90
CALL_SECONDS = 20.0
RETRY_SECONDS = 60.0
REQUEST = "--request-timeout=10s"
"""One that hangs is to end before kubectl itself is ended, which nobody would try again."""
APART = "node.kubernetes.io/exclude-from-external-load-balancers"
"""Kubernetes' own label: MetalLB announces no address there."""


def kubectl(lab: LiveLab, *words: str, timeout: float = CALL_SECONDS, check: bool = True) -> Result:
    """Run kubectl as the cluster's administrator. Raises ``LabError``."""
    program = require_cluster(lab).directory / "bin" / "kubectl"
    argv = [str(program), "--kubeconfig", str(lab.paths.root / INSIDE), *words]
    return run(lab.client_argv(argv), timeout=timeout * lab.provider.patience, check=check)


def ask(lab: LiveLab, *words: str) -> dict[str, Any]:
    """An object or a list, as data; asked again for a while, as every client of the floating IP must be ready to."""

    def look() -> dict[str, Any]:
        result = kubectl(lab, *words, "--output=json", REQUEST, check=False)
        if not result.ok:
            raise NotYet(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "no answer")
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    return wait_for(f"the cluster's answer to {' '.join(words)}", look, timeout=RETRY_SECONDS, interval=1.0)


def list_nodes(lab: LiveLab) -> dict[str, dict[str, Any]]:
    """Every node that the cluster knows, by name."""
    return {item["metadata"]["name"]: item for item in ask(lab, "get", "nodes")["items"]}


def drain(lab: LiveLab, name: str) -> None:
    """Take the pods of a node elsewhere; no new ones come, nor packets for services of type LoadBalancer. Those that
    belong to each node stay. Raises ``MachineError`` when they do not go; the node then takes none until ``uncordon``.
    One that the cluster does not know is left alone."""
    if name not in list_nodes(lab):
        return
    kubectl(lab, "label", "node", name, f"{APART}=", "--overwrite", REQUEST, check=False)
    words = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={DRAIN_SECONDS}s")
    result = kubectl(lab, "drain", name, *words, timeout=DRAIN_SECONDS + CALL_SECONDS, check=False)
    if not result.ok:
        last = "\n".join(f"  | {line}" for line in result.stderr.strip().splitlines()[-5:])
        raise MachineError(
            f"{name}: its pods did not leave within {DRAIN_SECONDS} s\n{last}",
            "see what keeps them with `./lab kubectl -- get pods --all-namespaces --output wide`",
        )


def uncordon(lab: LiveLab, name: str) -> None:
    """Let pods come to a node again. Idempotent, also for a node that the cluster does not know."""
    node = list_nodes(lab).get(name, {})

    def admit() -> None:
        _must(kubectl(lab, "uncordon", name, REQUEST, check=False))
        _must(kubectl(lab, "label", "node", name, f"{APART}-", REQUEST, check=False))

    if node.get("spec", {}).get("unschedulable") or APART in node.get("metadata", {}).get("labels", {}):
        wait_for(f"{name} open for pods", admit, timeout=RETRY_SECONDS)


def forget_strangers(lab: LiveLab, known: Collection[str]) -> list[str]:
    """Delete the objects of nodes that are not ``known``; their names. What ran there is then started elsewhere at
    once."""
    strangers = [name for name in list_nodes(lab) if name not in known]
    if strangers:
        words = ("delete", "node", *strangers, "--ignore-not-found", "--wait=false", REQUEST)
        wait_for("nodes forgotten", lambda: _must(kubectl(lab, *words, check=False)), timeout=RETRY_SECONDS)
    return strangers


def _must(result: Result) -> None:
    if not result.ok:
        raise NotYet(result.stderr.strip() or f"exit code {result.returncode}")


def is_node(lab: LiveLab, name: str) -> bool:
    """Whether a machine of the lab, as it is now, is a node of its cluster."""
    return any(node.name == name for node in lab.topology.kubernetes_nodes)

"""The way into the lab's cluster from this computer: a kubeconfig, and `invoke kubectl`.

The file (mode 0600, with a context named after the lab) leads through the forwarder on 127.0.0.1 to the API on the
floating IP; a second one, for `./lab shell`, there by name. They are the lab's own: nobody's ~/.kube/config is touched.
"""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rackbox.config_kubernetes import API_SERVICE
from rackbox.errors import LabError
from rackbox.forwarding import read_forwards
from rackbox.kubernetes_pki import kubeconfig
from rackbox.lab import LiveLab, open_lab
from rackbox.release import MAKE_ONE, Release

INSIDE = "kubeconfig-inside"


def command(lab_file: Path, argv: Sequence[str]) -> int:
    """`invoke kubectl -- …`: kubectl's own exit code."""
    lab = open_lab(lab_file)
    lab.require_up()
    release = require_cluster(lab)
    line = [str(release.directory / "bin" / "kubectl"), *argv]
    # The user's own terminal and no time limit, as with `ssh`.
    return subprocess.run(line, check=False, env=os.environ | environment(lab)).returncode  # noqa: S603 - an argv list


def require_cluster(lab: LiveLab) -> Release:
    """What the lab's cluster runs. Raises ``LabError`` where it has none."""
    if lab.choice is None:
        text = f"lab {lab.topology.lab} has no Kubernetes: {lab.file} does not ask for it"
        raise LabError(text, "add `kubernetes:` to it, take the lab down and up again")
    if lab.choice.release is None:
        raise LabError(f"lab {lab.topology.lab} has no Kubernetes: {lab.choice.reason}", MAKE_ONE)
    return lab.choice.release


def kubeconfig_path(lab: LiveLab) -> Path:
    return lab.paths.root / "kubeconfig"


def environment(lab: LiveLab) -> dict[str, str]:
    return {"KUBECONFIG": str(kubeconfig_path(lab))}


def write_kubeconfig(lab: LiveLab) -> Path | None:
    """Make or renew the file; None where the lab has no cluster. Needs the forwarders."""
    if lab.topology.kubernetes is None:
        return None
    inside = f"https://{lab.topology.kubernetes.endpoint}:{lab.topology.kubernetes.port}"
    _write(lab, lab.paths.root / INSIDE, inside)
    path = kubeconfig_path(lab)
    port = read_forwards(lab).get(API_SERVICE)
    _write(lab, path, f"https://127.0.0.1:{port}" if port else inside)
    return path


def _write(lab: LiveLab, path: Path, server: str) -> None:
    assert lab.topology.kubernetes is not None
    secrets = lab.paths.secrets / "kubernetes"
    name = f"rackbox-{lab.topology.lab}"
    text = kubeconfig(
        server,
        name,
        f"{name}-admin",
        {"tls-server-name": lab.topology.kubernetes.endpoint, "certificate-authority-data": _read(secrets / "ca.pem")},
        {"client-certificate-data": _read(secrets / "admin.pem"), "client-key-data": _read(secrets / "admin.key")},
    )
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    part.replace(path)


def _read(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()

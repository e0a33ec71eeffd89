"""Bundles that hold nothing of use, for tests: a manifest and small files with the right checksums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rackbox.bundle import KIND, SCHEMA, machine_arch
from rackbox.release import NEEDED_IMAGES, Release, read_release

PROGRAMS = ("kubeadm", "kubelet", "kubectl", "containerd", "etcd")
PLUGINS = ("bridge", "flannel", "host-local", "loopback", "portmap")
IMAGES = (*NEEDED_IMAGES, "controller", "speaker", "etcd")


def make_bundle(directory: Path, kubernetes: str = "1.36.3", **changes: Any) -> Path:
    """A bundle in ``directory``; ``changes`` replace keys of its manifest."""

    def part(path: str, **more: Any) -> dict[str, Any]:
        data = f"this is {path}\n".encode()
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return {
            "path": path,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "component": "kubernetes",
            **more,
        }

    everywhere = ["control-plane", "worker"]
    files = [part(f"bin/{name}", mode="0755", install=f"/usr/local/bin/{name}", on=everywhere) for name in PROGRAMS]
    files += [part(f"cni/{name}", mode="0755", install=f"/opt/cni/bin/{name}", on=everywhere) for name in PLUGINS]
    manifest = {
        "schema": SCHEMA,
        "kind": KIND,
        "version": directory.name,
        "kubernetes": kubernetes,
        "minor": ".".join(kubernetes.split(".")[:2]),
        "arch": machine_arch(),
        "from": "go",
        "built": "2026-01-02T03:04:05+00:00",
        "components": {"kubernetes": kubernetes},
        "files": files,
        "images": [
            part(f"images/{name}.tar", reference=reference(name, kubernetes), digest=f"sha256:{0:064}", on=where(name))
            for name in IMAGES
        ],
        "manifests": [part(f"manifests/{name}.yaml", component=name, images=[]) for name in ("flannel", "metallb")],
        **changes,
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def where(image: str) -> list[str]:
    own = image in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
    return ["control-plane"] if own else ["control-plane", "worker"]


def reference(image: str, kubernetes: str) -> str:
    version = f"v{kubernetes}" if image.startswith("kube-") else "v1.2.3"
    return f"registry.example/{image}:{version}"


def make_release(directory: Path, **changes: Any) -> Release:
    return read_release(make_bundle(directory, **changes))

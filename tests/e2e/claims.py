"""Claims to volumes and pods that use them, for tests: objects for kubectl, and what is asked of such pods."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rackbox.demo_image import image_reference
from rackbox.run import Result
from tests.e2e.labs import LabUnderTest

NAMESPACE = "claims"
MIB = 1 << 20
WRITE = "import os, sys; f = open(sys.argv[1], 'wb', 0); f.write(os.urandom(int(sys.argv[2]))); os.fsync(f.fileno())"


def claim(name: str, size: str, **more: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": size}}, **more}
    return _object("v1", "PersistentVolumeClaim", name, spec)


def pod(name: str, node: str, claimed: str) -> dict[str, Any]:
    """Sleeps on ``node`` with the claim at /data. Its image is the demo's: it has Python and coreutils."""
    container = {
        "name": "main",
        "image": image_reference(),
        "imagePullPolicy": "Never",
        "command": ["sleep", "infinity"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claimed}}
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container], "volumes": [volume]}
    return _object("v1", "Pod", name, spec)


def _object(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


@dataclass(frozen=True, slots=True)
class Claims:
    """A cluster, in the namespace of these objects."""

    lab: LabUnderTest

    def kubectl(self, *words: str, code: int | None = 0, timeout: float = 120.0) -> Result:
        return self.lab.cli("kubectl", "--", "--namespace", NAMESPACE, *words, code=code, timeout=timeout)

    def make(self, *objects: dict[str, Any], wait: Sequence[str] = ()) -> None:
        """Create objects; ``wait`` are kubectl's words for what to wait for then."""
        path = self.lab.file.with_name("objects.json")
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
        self.kubectl("create", "--filename", str(path))
        if wait:
            self.kubectl("wait", "--timeout=90s", *wait)

    def inside(self, pod: str, *argv: str, code: int | None = 0) -> Result:
        return self.kubectl("exec", pod, "--", *argv, code=code)

    def write(self, pod: str, name: str, size: int, code: int | None = 0) -> Result:
        """Write ``size`` random bytes and flush them; the exit code is Python's."""
        return self.inside(pod, "python3", "-c", WRITE, f"/data/{name}", str(size), code=code)

    def held(self, pod: str) -> int:
        """Bytes of all files of the volume."""
        return int(self.inside(pod, "du", "--bytes", "--summarize", "/data").stdout.split()[0])

    def volume_of(self, name: str) -> str:
        """The name of the volume that a claim got, which is its directory's, too."""
        return self.kubectl("get", "pvc", name, "--output", "jsonpath={.spec.volumeName}").stdout.strip()

    def wait_event(self, name: str, says: str, seconds: float = 60.0) -> str:
        """The first event about ``name`` that says so."""
        deadline = time.monotonic() + seconds
        while True:
            words = ("get", "events", "--field-selector", f"involvedObject.name={name}")
            seen = self.kubectl(*words, "--output", "jsonpath={range .items[*]}{.message}{'\\n'}{end}").stdout
            found = [line for line in seen.splitlines() if says in line]
            if found:
                return found[0]
            assert time.monotonic() < deadline, f"no event that says {says!r}: {seen}"
            time.sleep(1)

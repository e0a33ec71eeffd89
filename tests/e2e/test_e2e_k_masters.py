"""Masters that come to a cluster and go, while a client writes through the floating IP."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from rackbox.tools import find_user_home
from tests.e2e.conftest import _take_away
from tests.e2e.host import Traces
from tests.e2e.labs import BUILD_SECONDS, LabUnderTest, derive_lab
from tests.e2e.test_e2e_k_kubernetes import is_ready

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1200)]


class Writes:
    """Config maps, one after the other, each tried once more when it is refused."""

    def __init__(self, lab: LabUnderTest) -> None:
        self._lab = lab
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.acknowledged: set[str] = set()
        self.failed: list[str] = []

    def __enter__(self) -> Writes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)

    def _write(self) -> None:
        number = 0
        while not self._end.wait(0.5):
            number += 1
            name = f"write-{number}"
            words = ("create", "configmap", name, "--request-timeout=10s")
            first = self._lab.cli("kubectl", "--", *words, code=None)
            again = first if first.returncode == 0 else self._lab.cli("kubectl", "--", *words, code=None)
            if again.returncode == 0 or "already exists" in again.stderr:
                self.acknowledged.add(name)
            else:
                self.failed.append(f"{name}: {again.stderr.strip()}")


def nodes(lab: LabUnderTest) -> dict[str, bool]:
    """Every node of the cluster, and whether it is ready."""
    items = json.loads(lab.cli("kubectl", "--", "get", "nodes", "--output", "json").stdout)["items"]
    return {item["metadata"]["name"]: is_ready(item) for item in items}


def test_masters_come_and_go(lab_name: str, host_before: Traces, tmp_path: Path) -> None:
    """From one to three and back: with each the API has another server behind it, and etcd another member."""
    if not any(find_user_home().bundles.glob("*/manifest.json")):
        pytest.skip("there is no bundle: make one with `./lab bundle`")
    machines = {"gateway": None, "lb": None, "master": {"count": 1}, "worker": {"count": 1}}
    changes = {"nodes": machines, "kubernetes": {"source": "bundle"}}
    lab = derive_lab("kubernetes-small", f"{lab_name}-m", tmp_path / "lab.yaml", changes)

    def count(number: int) -> None:
        lab.edit(lambda config: config["nodes"].update(master={"count": number}))
        lab.up(timeout=BUILD_SECONDS)
        assert nodes(lab) == dict.fromkeys(lab.names("master", "worker"), True)

    try:
        lab.up(timeout=BUILD_SECONDS)
        with Writes(lab) as writes:
            count(3)
            count(1)
        print(f"{len(writes.acknowledged)} writes, failed after one retry: {len(writes.failed)}")
        assert writes.failed == []
        listed = json.loads(lab.cli("kubectl", "--", "get", "configmaps", "--output", "json").stdout)["items"]
        assert writes.acknowledged <= {item["metadata"]["name"] for item in listed}
        assert len(writes.acknowledged) > 10
    finally:
        _take_away(lab)

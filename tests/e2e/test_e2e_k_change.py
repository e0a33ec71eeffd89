"""Clusters that change while clients write through the floating IP: masters that come and go, an upgrade to the next
minor. One lab at a time: two clusters are more than two cores can boot."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from rackbox.bundle import list_bundles, release_numbers
from rackbox.tools import find_user_home
from tests.e2e.conftest import _take_away
from tests.e2e.host import Traces
from tests.e2e.labs import BUILD_SECONDS, LabUnderTest, derive_lab
from tests.e2e.test_e2e_k_kubernetes import is_ready, read

KILLED = "api-etcd-member-killed"
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


@pytest.mark.parametrize(("etcd", "few", "many"), [("external", 1, 3), ("stacked", 3, 5)], ids=["external", "stacked"])
def test_masters_come_and_go(
    lab_name: str, host_before: Traces, tmp_path: Path, etcd: str, few: int, many: int
) -> None:
    """And go again: with each the API has another server behind it, and etcd another member."""
    if not any(find_user_home().bundles.glob("*/manifest.json")):
        # It takes a quarter of an hour to build: whoever asks for these tests makes one first.
        pytest.skip("there is no bundle: make one with `./lab bundle`")
    machines = {"gateway": None, "lb": None, "master": {"count": few}, "worker": {"count": 1}}
    changes = {
        "nodes": machines,
        "kubernetes": {"source": "bundle", "etcd": etcd},
        # Sane, not quick: what a quiet computer reaches is measured elsewhere.
        "failover": {"probe": {"timeout": "2s"}, "budgets": {KILLED: "6s"}},
    }
    base = "kubernetes-small" if etcd == "external" else "kubernetes-stacked"
    lab = derive_lab(base, f"{lab_name}-m", tmp_path / "lab.yaml", changes)

    def count(number: int) -> None:
        lab.edit(lambda config: config["nodes"].update(master={"count": number}))
        lab.up(timeout=BUILD_SECONDS)
        assert nodes(lab) == dict.fromkeys(lab.names("master", "worker"), True)

    try:
        lab.up(timeout=BUILD_SECONDS)
        with Writes(lab) as writes:
            count(many)
            count(few)
        print(f"{len(writes.acknowledged)} writes, failed after one retry: {len(writes.failed)}")
        assert writes.failed == []
        listed = json.loads(lab.cli("kubectl", "--", "get", "configmaps", "--output", "json").stdout)["items"]
        assert writes.acknowledged <= {item["metadata"]["name"] for item in listed}
        assert len(writes.acknowledged) > 10
        found = {pod["metadata"]["name"] for pod in read(lab, "pods", "--namespace", "kube-system")["items"]}
        members = {f"etcd-master{number}" for number in range(1, few + 1)} if etcd == "stacked" else set()
        assert {name for name in found if name.startswith("etcd-")} == members
        if etcd == "stacked":
            document = json.loads(lab.cli("failover-test", "--scenario", KILLED, "--json", timeout=600).stdout)
            assert document["verdict"] == "held"
    finally:
        _take_away(lab)


@pytest.mark.timeout(1800)
def test_an_upgrade_while_the_api_answers(
    lab_name: str, host_before: Traces, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From the older of two bundles to the newer; needs both in the catalogue."""
    kept = list_bundles(find_user_home())
    pairs = [
        (a, b) for a in kept for b in kept if release_numbers(b.kubernetes)[1] - release_numbers(a.kubernetes)[1] == 1
    ]
    if not pairs:
        # An upgrade is from one to the other, and each takes a quarter of an hour to build.
        pytest.skip("there are no bundles of two minors in a row: make one with `./lab bundle --minor`")
    old, new = pairs[-1]
    nodes = {"gateway": None, "lb": None, "master": {"count": 3}, "worker": {"count": 2}}
    changes = {"nodes": nodes, "kubernetes": {"source": "bundle", "bundle": str(old.root)}}
    lab = derive_lab("kubernetes", f"{lab_name}-g", tmp_path_factory.mktemp("upgrade") / "lab.yaml", changes)
    try:
        lab.up(timeout=BUILD_SECONDS)
        lab.cli("kubectl", "--", "create", "configmap", "kept", "--from-literal=word=kept")
        lab.cli("upgrade", "--bundle", new.version, timeout=1200)
        found = {node["status"]["nodeInfo"]["kubeletVersion"] for node in read(lab, "nodes")["items"]}
        assert found == {f"v{new.kubernetes}"}
        assert read(lab, "configmap", "kept")["data"] == {"word": "kept"}
        (told,) = lab.live.paths.runs.glob("upgrade-*/upgrade.json")
        document = json.loads(told.read_text())
        assert sorted(document["machines"]) == lab.names("master", "worker")
        assert document["verdict"] == "held", document
        assert document["writes"]["lost"] == 0
        assert "nothing to upgrade to" in lab.cli("upgrade").stderr
    finally:
        _take_away(lab)

"""A lab that runs follows its file."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.e2e.labs import LabUnderTest


@pytest.mark.timeout(180, func_only=True)
def test_a_changed_file_is_applied_without_a_reboot_and_a_new_machine_joins(lab: LabUnderTest) -> None:
    before = lab.boots()
    original = lab.file.read_text()

    def change(config: dict[str, Any]) -> None:
        config["nodes"]["worker"]["count"] = 3
        config["load_balancer"]["services"][0]["check"]["interval"] = "700ms"

    lab.edit(change)
    try:
        lab.up()
        assert "worker3" in {machine["name"] for machine in lab.status()["machines"]}
        boots = lab.boots()
        assert {name: boots[name] for name in before} == before
        applied = lab.on_each(lab.names("lb"), "grep -c 'inter 700ms' /etc/haproxy/haproxy.cfg")
        assert set(applied.values()) == {"1"}
        assert lab.run("master1", "getent hosts worker3.kube.demo").stdout.startswith("192.168.2.133")
        lab.run("worker3", "mountpoint -q /mnt/shared")
    finally:
        lab.file.write_text(original)
    lab.up()  # …and back: the machine goes, the others stay
    assert lab.boots() == before
    assert lab.live.provider.existing(lab.live.topology, lab.live.paths) == set(before)
    assert lab.run("master1", "getent hosts worker3.kube.demo", check=False).returncode == 2


class Writes:
    """A client of etcd at the floating IP that writes all the time, and tries once more when it is refused."""

    def __init__(self, lab: LabUnderTest) -> None:
        self._lab = lab
        self._url = lab.etcd_url
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.acknowledged: list[str] = []
        self.failed: list[str] = []

    def __enter__(self) -> Writes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)

    def _write(self) -> None:
        number = 0
        while not self._end.wait(0.1):
            number += 1
            tries = [self._lab.etcd(self._url, "put", f"/masters/{number}", str(number), check=False)]
            if not tries[-1].ok:
                tries.append(self._lab.etcd(self._url, "put", f"/masters/{number}", str(number), check=False))
            (self.acknowledged if tries[-1].ok else self.failed).append(str(number))

    def lost(self) -> list[str]:
        asked = {number: self._lab.etcd(self._url, "get", f"/masters/{number}") for number in self.acknowledged[-40:]}
        return [number for number, said in asked.items() if said.stdout.strip() != number]


def members(lab: LabUnderTest) -> set[str]:
    """How many members with a vote etcd has, by each master's own word."""
    return set(lab.on_each(lab.names("master"), "/usr/local/lib/rackbox/status | jq .role.members").values())


@pytest.mark.timeout(300, func_only=True)
def test_masters_come_and_go_while_a_client_writes(lab: LabUnderTest) -> None:
    before, original = lab.boots(), lab.file.read_text()
    lab.edit(lambda config: config["nodes"]["master"].update(count=5))
    with Writes(lab) as writes:
        try:
            lab.up()
            assert members(lab) == {"5"}
            boots = lab.boots()
            assert {name: boots[name] for name in before} == before
        finally:
            lab.file.write_text(original)
        lab.up()
        assert members(lab) == {"3"}
    assert lab.boots() == before
    assert len(writes.acknowledged) > 20
    assert writes.failed == []
    assert writes.lost() == []


@pytest.mark.timeout(120, func_only=True)
def test_a_master_whose_data_is_lost_joins_again(lab: LabUnderTest) -> None:
    again = "systemctl restart --no-block rackbox-provision.service"
    lose = f"systemctl stop etcd.service; rm -rf /var/lib/etcd/data; {again}"
    with Writes(lab) as writes:
        lab.run("master3", lose)
        lab.live.wait_healthy(60)
    assert members(lab) == {"3"}
    assert lab.run("master3", "du -sm /var/lib/etcd/data | cut -f1").stdout.strip() != "0"
    assert writes.failed == []
    assert writes.lost() == []


def test_all_masters_cannot_be_exchanged_at_once(lab: LabUnderTest) -> None:
    original = lab.file.read_text()
    names = {"names": ["a", "b", "c"], "first_address": "192.168.1.21"}
    lab.edit(lambda config: config["nodes"].update(master=names))
    try:
        refused = lab.up(code=3)
    finally:
        lab.file.write_text(original)
    assert "nodes.master: must keep one of master1, master2, master3" in refused.stderr

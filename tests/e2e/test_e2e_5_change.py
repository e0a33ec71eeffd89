"""A lab that runs follows its file."""

from __future__ import annotations

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

"""The labs that are there to be measured against: the keepalived twin, the guides' own settings, past bugs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rackbox.errors import ConfigError
from rackbox.load import load_topology
from rackbox.paths import PROJECT
from rackbox.plan import plan_json
from rackbox.topology import LoadBalancer, Topology
from tests.rendering import render

CONFIG = PROJECT / "config"
TRAPS = sorted((CONFIG / "traps").glob("*.yaml"))


def lab(name: str) -> Topology:
    return load_topology(CONFIG / f"{name}.yaml")


def balancer(name: str) -> LoadBalancer:
    found = lab(name).load_balancer
    assert found is not None
    return found


def test_the_keepalived_lab_is_the_default_lab_but_for_its_stack() -> None:
    twin, default = lab("keepalived"), lab("default")
    assert balancer("keepalived") == replace(balancer("default"), ha="keepalived")
    assert twin.services == default.services
    assert [(node.name, node.address, node.volumes) for node in twin.nodes] == [
        (node.name, node.address, node.volumes) for node in default.nodes
    ]


@pytest.mark.parametrize("path", TRAPS, ids=lambda path: path.stem)
def test_a_trap_can_be_planned_and_rendered(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=../schema.json\n")
    topology = load_topology(path)
    assert topology.lab.startswith("trap-")
    assert plan_json(topology)["lab"] == topology.lab
    assert "nodes/lb1/user-data" in render(topology)


def test_each_trap_has_its_bug_and_no_other() -> None:
    """What differs from the defaults is the bug, and what would have helped all the same."""
    usual = balancer("small")
    bugs = {}
    for path in TRAPS:
        found = balancer(f"traps/{path.stem}")
        names = [name for name in LoadBalancer.__slots__ if getattr(found, name) != getattr(usual, name)]
        bugs[path.stem] = {name: getattr(found, name) for name in names if name not in ("ha", "keepalived")}
    assert bugs == {
        "knet-ping-automatic": {"knet_ping": "auto", "token_ms": 400, "consensus_ms": 200},
        "no-arp-refresh": {"arp_refresh": False},
        "no-third-vote": {"third_vote": False, "fencing": False},
        "slow-monitor": {"monitor_ms": 20_000, "haproxy_restart": False, "haproxy_watch_ms": 0},
        "weight-below-gap": {"haproxy_restart": False, "haproxy_watch_ms": 0},
    }
    script = balancer("traps/weight-below-gap").keepalived
    first, second = script.priorities
    assert first + script.script_weight > second, "a dead HAProxy must leave the holder's priority the higher one"


def test_the_guides_labs_have_the_guides_settings() -> None:
    pacemaker, keepalived = balancer("reference-pacemaker"), balancer("reference-keepalived")
    assert (pacemaker.token_ms, pacemaker.consensus_ms, pacemaker.monitor_ms) == (3000, 3600, 20_000)
    assert (pacemaker.third_vote, pacemaker.fencing) == (False, False)
    assert pacemaker.haproxy_on == "holder"
    vrrp = keepalived.keepalived
    assert (vrrp.advert_ms, vrrp.down_timer_adverts, vrrp.priorities) == (1000, 3, (100, 99))
    assert (vrrp.check, vrrp.script_interval_ms, vrrp.script_weight) == ("script", 2000, 2)
    for name in ("reference-pacemaker", "reference-keepalived"):
        found = balancer(name)
        assert (found.haproxy_restart, found.arp_refresh, found.watches_haproxy) == (False, False, False)
        assert [node.role for node in lab(name).nodes] == ["gateway", "lb", "lb", "master", "master", "master"]


@pytest.mark.parametrize(
    ("keepalived", "path", "text"),
    [
        ("advert: 25ms", "advert", "must be a multiple of 10ms; got 25ms"),
        ("script: {interval: 1500ms}", "script.interval", "must be whole seconds; got 1500ms"),
        (
            "{check: script, script: {weight: 6}}",
            "script.weight",
            "must leave both priorities between 1 and 254; got 6",
        ),
    ],
)
def test_what_keepalived_could_not_read_is_refused(keepalived: str, path: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    inner = keepalived if keepalived.startswith("{") else f"{{{keepalived}}}"
    file.write_text(
        f"name: x\nnodes: {{gateway: , lb: , master: }}\nload_balancer: {{ha: keepalived, keepalived: {inner}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_topology(file)
    assert [(problem.path, problem.text) for problem in caught.value.problems] == [
        (f"load_balancer.keepalived.{path}", text)
    ]

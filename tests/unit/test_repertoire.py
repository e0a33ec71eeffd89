"""What a lab can play: the catalogue against topologies, stacks and providers."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from rackbox.budgets import BUDGETS_MS
from rackbox.errors import LabError
from rackbox.faults import FAULTS
from rackbox.paths import PROJECT
from rackbox.probes import PROBES
from rackbox.repertoire import choose_scenarios, find_stacks, list_scenarios, needs_cluster, render_scenarios
from rackbox.scenarios import LIMITS, SCENARIOS, Scenario, find_limits
from rackbox.targets import list_candidates
from tests.fakes import cluster_topology, default_topology, with_stack


def test_every_scenario_is_made_of_known_parts() -> None:
    topology = default_topology()
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name
        assert scenario.fault in FAULTS
        assert all(probe in PROBES for probe in scenario.probes)
        assert list_candidates(topology, scenario.target)
        assert scenario.settle > topology.failover.probe_timeout_ms / 1000
        roles = FAULTS[scenario.fault].roles
        meant = {topology.node(name).role for name in list_candidates(topology, scenario.target)}
        assert not roles or meant <= set(roles)
    assert all(fault.name == name and fault.summary for name, fault in FAULTS.items())
    assert {scenario.fault for scenario in SCENARIOS.values()} == set(FAULTS)


def test_every_scenario_has_a_budget_and_none_is_left_over() -> None:
    assert set(BUDGETS_MS) == set(SCENARIOS)


def test_a_scenario_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="judged probe dns is not among its probes"):
        Scenario("x", "x", "haproxy-killed", "vip-holder", judged="dns")
    with pytest.raises(ValueError, match="unknown limits beauty"):
        Scenario("x", "x", "haproxy-killed", "vip-holder", limits={"beauty": 1})
    assert "beauty" not in LIMITS


def test_a_lab_too_small_for_a_scenario_says_so() -> None:
    topology = default_topology()
    small = replace(topology, nodes=tuple(n for n in topology.nodes if n.name not in ("master2", "master3")))
    with pytest.raises(LabError, match="needs 3 machines of role master; the lab has 1"):
        choose_scenarios(small, ["etcd-leader-powered-off"], 1)
    chosen, notes = choose_scenarios(small, [], 1)
    assert "haproxy-killed" in [scenario.name for scenario in chosen]
    assert "etcd-leader-powered-off left out: needs 3 machines of role master; the lab has 1" in notes


def test_a_scenario_without_a_budget_cannot_be_judged() -> None:
    topology = default_topology()
    bare = replace(topology, failover=replace(topology.failover, budgets_ms=()))
    with pytest.raises(LabError, match=r"has no budget; add failover\.budgets\.haproxy-killed"):
        choose_scenarios(bare, ["haproxy-killed"], 1)
    with pytest.raises(LabError, match="no scenario can be run"):
        choose_scenarios(bare, [], 1)


@pytest.mark.parametrize(
    ("ha", "name", "why"),
    [
        ("pacemaker", "keepalived-killed", "is about keepalived; the lab's load_balancer.ha is pacemaker"),
        ("keepalived", "corosync-hung", "is about pacemaker; the lab's load_balancer.ha is keepalived"),
        ("pacemaker", "holder-paused", "provider lxc cannot do this: whole machine paused"),
    ],
)
def test_what_is_not_here_says_why(ha: str, name: str, why: str) -> None:
    rows = {str(row["name"]): row for row in list_scenarios(with_stack(ha), "lxc")}
    assert rows[name]["cannot"] == why
    with pytest.raises(LabError, match=name):
        choose_scenarios(with_stack(ha), [name], 1, "lxc")
    assert name not in [scenario.name for scenario in choose_scenarios(with_stack(ha), [], 1, "lxc")[0]]


def test_a_probe_that_a_lab_cannot_have_says_why() -> None:
    bare = replace(default_topology(), gluster_volume=None)
    rows = {str(row["name"]): row for row in list_scenarios(bare, "lxc")}
    assert rows["gluster-brick-killed"]["cannot"] == (
        "its probe gluster-write needs a shared volume; the lab has no Gluster servers"
    )


def test_the_list_says_what_a_fault_needs_and_who_can() -> None:
    rows = {str(row["name"]): row for row in list_scenarios(default_topology(), "lxc")}
    assert (rows["holder-frozen"]["needs"], rows["holder-frozen"]["providers"]) == (("processes frozen",), ["lxc"])
    assert (rows["holder-paused"]["needs"], rows["holder-paused"]["providers"]) == (
        ("whole machine paused",),
        ["libvirt", "virtualbox"],
    )
    assert rows["holder-cut-off"]["providers"] == ["lxc", "libvirt", "virtualbox"]
    assert rows["corosync-hung"]["stacks"] == ("pacemaker",)
    text = StringIO()
    Console(width=300, file=text).print(render_scenarios(list(rows.values())))
    assert "not here: provider lxc cannot do this: whole machine paused" in text.getvalue()
    assert "processes frozen (lxc)" in text.getvalue()
    assert re.search(r"haproxy-killed .* 500ms  2 lb, 1 master", text.getvalue())
    assert re.search(r"balancers-rebooted .* 1m  ", text.getvalue())


def test_every_stack_has_its_catalogue() -> None:
    for ha, other in (("pacemaker", ("keepalived",)), ("keepalived", ("corosync", "pacemaker"))):
        names = {scenario.name for scenario in choose_scenarios(with_stack(ha), [], 1, "lxc")[0]}
        theirs = {name for name in SCENARIOS if name.split("-")[0] in other}
        of_clusters = {name for name, scenario in SCENARIOS.items() if needs_cluster(scenario)}
        assert set(SCENARIOS) - names == theirs | of_clusters | {"holder-paused"}


def test_a_cluster_has_its_own_scenarios_and_all_others() -> None:
    names = {scenario.name for scenario in choose_scenarios(cluster_topology(), [], 1, "lxc")[0]}
    assert {"api-master-powered-off", "worker-powered-off", "coredns-killed", "haproxy-killed"} <= names
    with pytest.raises(LabError, match="needs a Kubernetes cluster; the lab has none"):
        choose_scenarios(default_topology(), ["coredns-killed"], 1, "lxc")
    cluster = cluster_topology().kubernetes
    assert cluster is not None
    bare = replace(cluster_topology(), kubernetes=replace(cluster, pool=()))
    with pytest.raises(LabError, match=r"its probe service-http needs addresses for services .*kubernetes\.pool"):
        choose_scenarios(bare, ["worker-powered-off"], 1, "lxc")


def test_limits_are_more_where_the_cluster_fences() -> None:
    scenario, topology = SCENARIOS["balancers-cut-off"], with_stack("pacemaker")
    assert topology.load_balancer is not None
    for fencing, limits in (
        (True, {"double_holder_ms": 0, "second_outage_ms": 250}),
        (False, {"second_outage_ms": 500}),
    ):
        balancer = replace(topology.load_balancer, fencing=fencing)
        assert find_limits(replace(topology, load_balancer=balancer), scenario) == limits
    assert find_limits(with_stack("keepalived"), scenario) == {"second_outage_ms": 500}


# --- the reference's tables, which `python -m tests.unit.test_repertoire` writes anew


def scenarios_table() -> str:
    rows = [
        "| scenario | fault | target | probes (judged first) | budget | promises besides | needs |",
        "|" + "---|" * 7,
    ]
    for row in list_scenarios(with_stack("pacemaker")):
        scenario = SCENARIOS[str(row["name"])]
        probes = (scenario.judged, *(probe for probe in scenario.probes if probe != scenario.judged))
        limits = [f"`{name}` {value:g}" for name, value in scenario.limits.items()]
        limits += [f"with fencing: `{name}` {value:g}" for name, value in scenario.fenced_limits.items()]
        needs = [f"{count} {role}" for role, count in scenario.needs.items()]
        needs += ["kubernetes"] * needs_cluster(scenario)
        needs += [*(stacks if len(stacks := find_stacks(scenario)) == 1 else ()), *FAULTS[scenario.fault].needs]
        cells = (
            f"`{scenario.name}`",
            f"`{scenario.fault}`",
            f"`{scenario.target}`",
            ", ".join(f"`{probe}`" for probe in probes),
            f"{BUDGETS_MS[scenario.name]} ms",
            ", ".join(limits) or "–",
            ", ".join(needs),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def faults_table() -> str:
    rows = ["| fault | what is done | over by itself |", "|---|---|---|"]
    for name, fault in FAULTS.items():
        rows.append(f"| `{name}` | {fault.summary} | {f'within {fault.passes:g} s' if fault.passes else 'no'} |")
    return "\n".join(rows)


TABLES = {"| scenario | fault |": scenarios_table, "| fault | what is done |": faults_table}
REFERENCE = PROJECT / "docs" / "reference.md"


def with_tables(text: str) -> str:
    """The reference with each of the tables, found by its first words, as it must be."""
    for head, table in TABLES.items():
        before, _, rest = text.partition(head)
        text = before + table() + "\n\n" + rest.partition("\n\n")[2]
    return text


def test_the_reference_has_every_scenario_and_fault() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run `.venv/bin/python -m tests.unit.test_repertoire`, and look at the change"


if __name__ == "__main__":
    REFERENCE.write_text(with_tables(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")

"""The fault catalogue on real machines: what bites heals, whatever interrupts it, and leaves nothing behind.

A part of it runs always, on the session's lab; all of it, on a lab for each stack, with ``-m catalogue``.
Verdict logic and loose bounds are held here, budgets by benchmarks on a quiet computer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rackbox.audits import find_problems
from rackbox.budgets import BUDGETS_MS
from rackbox.recorder import load_history
from rackbox.repertoire import choose_scenarios
from rackbox.scenarios import SCENARIOS
from tests.e2e.host import host_traces
from tests.e2e.labs import BUILD_SECONDS, LabUnderTest, derive_lab

ALWAYS = (
    "haproxy-killed",
    "haproxy-hung",
    "holder-powered-off",
    "holder-frozen",
    "balancers-cut-off",
    "planned-switchover",
    "etcd-leader-powered-off",
)
INTERRUPTED = (
    ("holder-frozen", "injected"),
    ("cluster-packet-delay", "probing"),
    ("cluster-packet-delay", "injected"),
    ("cluster-packet-delay", "healing"),
    ("holder-disk-full", "injected"),
)
MOMENTS = ("probing", "injected", "healing")
SCENARIO_SECONDS = 60
LOOSE = 10
"""How many times its budget an outage may take on a busy computer with two cores."""
AGAIN_SECONDS = 60.0


# --- a part of it, always


@pytest.mark.timeout(SCENARIO_SECONDS * len(ALWAYS), func_only=True)
def test_scenarios_bite_are_measured_and_leave_nothing_behind(lab: LabUnderTest) -> None:
    report = _play(lab, ALWAYS)
    judged = json.loads(lab.cli("failover-test", "--judge", report["group"], "--json", code=None).stdout)
    assert judged["scenarios"] == report["scenarios"]


@pytest.mark.timeout(150, func_only=True)
@pytest.mark.parametrize(("name", "moment"), INTERRUPTED)
def test_an_interrupt_leaves_nothing_behind(lab: LabUnderTest, name: str, moment: str) -> None:
    _interrupt(lab, name, moment)


# --- all of it, when asked for


@pytest.fixture(scope="module", params=["pacemaker", "keepalived"])
def stack_lab(
    request: pytest.FixtureRequest, lab_name: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabUnderTest]:
    """A lab with a machine of every kind that a fault is about, on one stack."""
    changes: dict[str, Any] = {
        "nodes": {"gateway": None, "lb": None, "master": {"count": 3}, "gluster": {"count": 3}, "worker": {"count": 1}},
        "load_balancer": {"ha": request.param},
        "failover": {"probe": {"interval": "40ms"}},
    }
    file = tmp_path_factory.mktemp(request.param) / "lab.yaml"
    lab = derive_lab("default", f"{lab_name}-{request.param[:4]}", file, changes)
    try:
        lab.up(timeout=BUILD_SECONDS)
        yield lab
    finally:
        lab.down()


@pytest.mark.catalogue
@pytest.mark.timeout(SCENARIO_SECONDS * len(SCENARIOS), func_only=True)
def test_the_whole_catalogue(stack_lab: LabUnderTest) -> None:
    names = [scenario.name for scenario in choose_scenarios(stack_lab.live.topology, [], 1, "lxc")[0]]
    _play(stack_lab, names)


@pytest.mark.catalogue
@pytest.mark.timeout(150, func_only=True)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_interrupted_at_three_points(stack_lab: LabUnderTest, name: str, moment: str) -> None:
    playable = [scenario.name for scenario in choose_scenarios(stack_lab.live.topology, [], 1, "lxc")[0]]
    if name not in playable:
        pytest.skip("not here")
    _interrupt(stack_lab, name, moment)


# --- help


def _play(lab: LabUnderTest, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """Play them all once; each must have bitten, been measured, and left nothing. The report."""
    chosen = [word for name in names for word in ("--scenario", name)]
    result = lab.cli("failover-test", "--json", *chosen, code=None, timeout=SCENARIO_SECONDS * len(names))
    report: dict[str, Any] = json.loads(result.stdout)
    wrong = []
    for scenario in report["scenarios"]:
        (run,) = scenario["runs"]
        history = load_history(Path(report["runs"], run["run"], "history.jsonl"))
        bite, audit = history.last("bite"), history.last("audit")
        errors = [record.text("message") for record in history.events("error")]
        left = audit.texts("problems") if audit else ("no audit",)
        if bite is None or not bite.flag("bitten") or errors or left:
            wrong.append(f"{scenario['name']}: bite {bite and bite.fields}, errors {errors}, left {left}")
        if run["outage_ms"] is None or run["outage_ms"] > LOOSE * BUDGETS_MS[scenario["name"]]:
            wrong.append(f"{scenario['name']}: outage {run['outage_ms']} ms")
        if run["writes"] is not None and run["writes"]["lost"]:
            wrong.append(f"{scenario['name']}: lost {run['writes']['lost']}")
    assert [scenario["name"] for scenario in report["scenarios"]] == list(names), report["notes"]
    assert wrong == []
    assert _onlookers(lab) == []
    return report


def _interrupt(lab: LabUnderTest, name: str, moment: str) -> None:
    """Ctrl-C before the injection, right after it, or while it is healed; then nothing may be left."""
    words = {"probing": "probing", "injected": f"{SCENARIOS[name].fault} on ", "healing": "healing"}
    with lab.start("failover-test", "--scenario", name) as process:
        _read_until(process, f" {words[moment]}")
        if moment == "injected":
            time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(100) == 130
    assert _onlookers(lab) == []
    assert find_problems(lab.live, AGAIN_SECONDS) == []


def _onlookers(lab: LabUnderTest) -> list[str]:
    """Probes and watchers of this lab that are still there."""
    place = f"rackbox-{lab.live.topology.lab} "
    kinds = ("rackbox.probes", "rackbox.watchers")
    return [text for text in host_traces()["processes"] if place in text and any(kind in text for kind in kinds)]


def _read_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if wanted in line:
            return
    raise AssertionError(f"ended before {wanted}: {''.join(seen)}")

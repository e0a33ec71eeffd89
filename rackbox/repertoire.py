"""Which scenarios a lab can play, and why not the others. Pure: it looks at the topology and acts on nothing.

Entry points: ``choose_scenarios``, ``list_scenarios``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from rich.table import Table

from rackbox.durations import format_duration
from rackbox.errors import LabError
from rackbox.faults import FAULTS
from rackbox.history import JsonValue
from rackbox.probes import PROBES
from rackbox.probes.endpoints import OF_CLUSTER
from rackbox.probes.endpoints import find_obstacle as find_aim_obstacle
from rackbox.providers import PROVIDERS, open_provider
from rackbox.scenarios import SCENARIOS, Scenario, find_limits
from rackbox.targets import list_candidates
from rackbox.topology import Topology

MAX_REPEAT = 1000


def list_scenarios(topology: Topology | None = None, provider: str = "") -> list[dict[str, JsonValue]]:
    """Every scenario as data for ``--list``: what it does, who judges, its budget, what it needs and who has that, why
    it cannot be run here."""
    rows: list[dict[str, JsonValue]] = []
    for scenario in SCENARIOS.values():
        budget = find_budget(topology, scenario) if topology else None
        fault = FAULTS[scenario.fault]
        rows.append(
            {
                "name": scenario.name,
                "summary": scenario.summary,
                "fault": scenario.fault,
                "target": scenario.target,
                "probes": scenario.probes,
                "judged": scenario.judged,
                "budget_ms": budget,
                "limits": find_limits(topology, scenario) if topology else dict(scenario.limits),
                "needs": fault.needs,
                "machines": dict(scenario.needs),
                "stacks": find_stacks(scenario),
                "kubernetes": needs_cluster(scenario),
                "providers": [name for name in PROVIDERS if not lacks(name, fault.needs)],
                "cannot": find_obstacle(topology, scenario, provider) if topology else "",
            }
        )
    return rows


def render_scenarios(rows: Sequence[Mapping[str, JsonValue]]) -> Table:
    """The table that ``--list`` prints."""
    table = Table(box=None, pad_edge=False)
    for column in ("scenario", "what happens", "judged by", "budget", "needs"):
        table.add_column(
            column,
            no_wrap=column in ("scenario", "judged by", "budget"),
            overflow="fold",
            justify="right" if column == "budget" else "left",
        )
    for row in rows:
        budget = format_duration(row["budget_ms"]) if isinstance(row["budget_ms"], int) else "–"
        words = f"not here: {row['cannot']}" if row["cannot"] else _needs(row)
        table.add_row(str(row["name"]), str(row["summary"]), str(row["judged"]), budget, words)
    return table


def _needs(row: Mapping[str, JsonValue]) -> str:
    """What it takes, in a few words: machines, stack, and what the provider must be able to do, with who can."""
    machines, stacks, needs = row["machines"], row["stacks"], row["needs"]
    words = [f"{count} {role}" for role, count in machines.items()] if isinstance(machines, dict) else []
    words += [str(stack) for stack in stacks] if isinstance(stacks, (list, tuple)) and len(stacks) == 1 else []
    words += ["kubernetes"] if row["kubernetes"] else []
    if isinstance(needs, (list, tuple)) and needs:
        providers = row["providers"]
        who = ", ".join(map(str, providers)) if isinstance(providers, (list, tuple)) else ""
        words.append(f"{', '.join(map(str, needs))} ({who or 'no provider yet'})")
    return ", ".join(words)


def choose_scenarios(
    topology: Topology, names: Sequence[str], repeat: int, provider: str = ""
) -> tuple[list[Scenario], list[str]]:
    """The scenarios to play, and notes on those left out. A scenario that was named must be possible."""
    if isinstance(repeat, bool) or not 1 <= repeat <= MAX_REPEAT:
        raise LabError(f"--repeat: must be from 1 to {MAX_REPEAT}; got {repeat}")
    for name in names:
        if name not in SCENARIOS:
            near = get_close_matches(name, SCENARIOS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}? " if near else ""
            raise LabError(f"scenario {name}: not known", f"{hint}all: {', '.join(SCENARIOS)}")
    notes: list[str] = []
    chosen: list[Scenario] = []
    for name in dict.fromkeys(names or SCENARIOS):
        if not (obstacle := find_obstacle(topology, SCENARIOS[name], provider)):
            chosen.append(SCENARIOS[name])
        elif names:
            raise LabError(f"scenario {name}: {obstacle}", "choose another lab with --lab, or another scenario")
        else:
            notes.append(f"{name} left out: {obstacle}")
    if not chosen:
        raise LabError("no scenario can be run on this lab: " + "; ".join(notes))
    return chosen, notes


def find_stacks(scenario: Scenario) -> tuple[str, ...]:
    """The values of ``load_balancer.ha`` under which it can be played; empty: all."""
    return scenario.stacks or FAULTS[scenario.fault].stacks


def needs_cluster(scenario: Scenario) -> bool:
    """Whether it is about a Kubernetes cluster: one of its probes is a client of one."""
    return any(PROBES[probe].aims_at.kind in OF_CLUSTER for probe in scenario.probes)


def lacks(provider: str, needs: Sequence[str]) -> tuple[str, ...]:
    """Of what a fault needs, that which a provider cannot do; one that is not known lacks nothing."""
    if provider not in PROVIDERS:
        return ()
    able = {item.name for item in open_provider(provider).capabilities if item.available}
    return tuple(need for need in needs if need not in able)


def find_obstacle(topology: Topology, scenario: Scenario, provider: str = "") -> str:
    """Why this lab cannot play ``scenario``; empty if it can. ``provider`` is what runs it, if that is known."""
    if needs_cluster(scenario) and topology.kubernetes is None:
        return "needs a Kubernetes cluster; the lab has none"
    for role, count in scenario.needs.items():
        if (have := len(topology.by_role(role))) < count:
            return f"needs {count} machines of role {role}; the lab has {have}"
    if topology.load_balancer is None:
        return "needs a floating IP; the lab has none"
    stacks = find_stacks(scenario)
    if stacks and topology.load_balancer.ha not in stacks:
        return f"is about {' and '.join(stacks)}; the lab's load_balancer.ha is {topology.load_balancer.ha}"
    if lacking := lacks(provider, FAULTS[scenario.fault].needs):
        return f"provider {provider} cannot do this: {', '.join(lacking)}"
    for probe in scenario.probes:
        if obstacle := find_aim_obstacle(topology, PROBES[probe].aims_at.kind):
            return f"its probe {probe} {obstacle}"
    if find_budget(topology, scenario) is None:
        return f"has no budget; add failover.budgets.{scenario.name} to the lab's config"
    list_candidates(topology, scenario.target)
    return ""


def find_budget(topology: Topology, scenario: Scenario) -> int | None:
    """The largest allowed outage in milliseconds, from the lab's config."""
    return dict(topology.failover.budgets_ms).get(scenario.name)

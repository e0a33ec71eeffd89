"""Measures failovers of whole labs, one after the other, and prints the table that the README shows.

    .venv/bin/python benchmarks/bench_failover.py [--plan goals|comparison|traps|catalogue] [--out results.jsonl]
                                                  [--lab FILE] [--repeat N]

A plan is a list of labs, each with scenarios and repeats. A lab is brought up, its scenarios are played by
`./lab failover-test`, and it is taken down. Each scenario's figures are appended to ``--out`` as one JSON line; a line
that is there is not measured again, so a long series can be broken off (Ctrl-C heals the lab) and gone on with. Run it
on a computer that does nothing else. It judges nothing: budgets are the labs' own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
BOOT_LIMIT = 600.0
RUN_LIMIT = 120.0
"""Seconds for one repeat of one scenario, at most."""

FIRST = ("haproxy-killed", "haproxy-hung", "holder-powered-off", "holder-frozen", "planned-switchover")
OTHERS = ("standby-powered-off", "master-powered-off", "balancers-cut-off", "etcd-leader-powered-off")
PARTED = ("holder-powered-off", "holder-frozen", "balancers-cut-off")
"""What the two safeguards of a pair against split brain take, and what they are for."""
COMPARED = ("haproxy-killed", "haproxy-hung", "holder-powered-off", "holder-frozen", "balancers-cut-off")


@dataclass(frozen=True)
class Series:
    """One scenario on one lab. ``scenario`` "" is all that the lab can play."""

    lab: str
    scenario: str
    repeat: int

    @property
    def key(self) -> str:
        return f"{self.lab} {self.scenario or 'all'} {self.repeat}"


def plan_series(name: str) -> list[Series]:
    if name == "goals":
        ours = ["pacemaker", "keepalived"]
        rows = [(scenario, 20) for scenario in FIRST] + [(scenario, 5) for scenario in OTHERS]
        safeguards = [("vote-alone", name, 5) for name in PARTED] + [("two-node", name, 20) for name in PARTED[:1]]
        safeguards += [("two-node", name, 5) for name in PARTED[1:]]
        series = [(lab, *row) for lab in ours for row in rows] + safeguards
        return [Series(f"config/comparison/{lab}.yaml", scenario, repeat) for lab, scenario, repeat in series]
    if name == "comparison":
        labs = ("reference-pacemaker", "comparison/pacemaker", "reference-keepalived", "comparison/keepalived")
        return [Series(f"config/{lab}.yaml", scenario, 5) for lab in labs for scenario in COMPARED]
    if name == "catalogue":
        return [Series(lab, "", 1) for lab in ("config/default.yaml", "config/keepalived.yaml")]
    traps = sorted(path.relative_to(PROJECT).as_posix() for path in (PROJECT / "config/traps").glob("*.yaml"))
    return [Series(lab, "", 1) for lab in traps]


def lab_task(*argv: str, limit: float) -> int:
    """One task of rackbox's, its output shown; its exit code."""
    command = [sys.executable, "-m", "rackbox.program", *argv]
    return subprocess.run(command, cwd=PROJECT, timeout=limit, stdin=subprocess.DEVNULL, check=False).returncode


def measure(series: Series) -> list[dict[str, Any]]:
    """Play it; one row a scenario."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "report.json"
        chosen = ("--scenario", series.scenario) if series.scenario else ()
        limit = RUN_LIMIT * series.repeat * (1 if series.scenario else 40)
        begun = time.monotonic()
        code = lab_task(
            *("failover-test", "--lab", series.lab, *chosen, "--repeat", str(series.repeat), "--out", str(out)),
            limit=limit,
        )
        seconds = time.monotonic() - begun
        if not out.exists():
            raise SystemExit(f"{series.key}: no report (exit {code})")
        report = json.loads(out.read_text())
    rows = []
    for scenario in report["scenarios"]:
        kept = {key: value for key, value in scenario.items() if key != "runs"}
        notes = sorted({text for run in scenario["runs"] for text in run["reasons"]})
        rows.append({"series": series.key, "lab": series.lab, **kept, "reasons": notes, "seconds": round(seconds, 1)})
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """Markdown, a line a scenario."""
    print("| lab | scenario | repeats | p50 | p95 | max | ± | failed | verdict |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        outage = row["outage_ms"]
        figures = [outage["p50"], outage["p95"], outage["max"], row["resolution_ms"]]
        cells = [Path(row["lab"]).stem, row["name"], str(row["repeat"])]
        cells += ["–" if figure is None else f"{figure:.0f} ms" for figure in figures]
        print("| " + " | ".join([*cells, str(row["failed_requests"]), row["verdict"]]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure failovers of whole labs.")
    parser.add_argument("--plan", choices=("goals", "comparison", "traps", "catalogue"), default="comparison")
    parser.add_argument("--lab", help="only this lab of the plan")
    parser.add_argument("--repeat", type=int, help="so often, in place of what the plan says")
    parser.add_argument("--out", type=Path, default=Path("failover.jsonl"))
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {row["series"] for row in rows}
    wanted = [series for series in plan_series(options.plan) if options.lab in (None, series.lab)]
    if options.repeat:
        wanted = [replace(series, repeat=options.repeat) for series in wanted]
    for lab in dict.fromkeys(series.lab for series in wanted):
        missing = [series for series in wanted if series.lab == lab and series.key not in done]
        if not missing:
            continue
        try:
            if lab_task("up", "--lab", lab, limit=BOOT_LIMIT) != 0:
                raise SystemExit(f"{lab}: does not come up")
            for series in missing:
                found = measure(series)
                rows += found
                with options.out.open("a") as stream:
                    stream.writelines(json.dumps(row) + "\n" for row in found)
        finally:
            lab_task("down", "--lab", lab, limit=BOOT_LIMIT)
    print_table([row for row in rows if row["series"] in {series.key for series in wanted}])


if __name__ == "__main__":
    main()

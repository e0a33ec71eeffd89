"""What a failover test must leave behind: nothing. Asked of the machines after each scenario and after an interrupt.

Entry points: ``find_problems`` (one holder, every machine healthy, no trace of a fault) and ``find_traces`` (only the
last). They look and change nothing; what heals is in ``faults/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rackbox.errors import LabError
from rackbox.faults.disk_full import MARK
from rackbox.faults.firewall import TABLE
from rackbox.faults.packet_delay import CHAIN, UNIT
from rackbox.machine import Lab
from rackbox.targets import find_holders
from rackbox.topology import Node

NO_POWER = "has no power"
_AUDIT_SECONDS = 10.0

# Each prints one line for each thing that should not be there.
_RULES = f"""\
nft list tables | grep --word-regexp {TABLE} | sed 's/^/rule left: /' || true
iptables --table mangle --list-rules 2>/dev/null | grep --word-regexp {CHAIN} | sed 's/^/rule left: iptables /' || true
if systemctl is-active --quiet {UNIT}; then echo 'left running: {UNIT}'; fi
tc qdisc show | grep --extended-regexp 'netem|tbf' | sed 's/^/rule left: tc /' || true
findmnt --noheadings --list --output TARGET --source {MARK} | sed 's/^/mount left: /' || true
"""
_STOPPED = """\
awk '/^Name:/ { name = $2 } /^State:\tT/ { print "stopped process: " name }' /proc/[0-9]*/status 2>/dev/null || true
"""
_CONSTRAINTS = """\
if systemctl is-active --quiet pacemaker.service; then
    timeout 5 cibadmin --query --scope constraints 2>/dev/null | grep --only-matching 'id="cli-[^"]*"' |
        sed 's/^/constraint left in Pacemaker: /' || true
fi
"""


def find_problems(lab: Lab, health_seconds: float) -> list[str]:
    """Everything that is not as it was before the test: health (waited for), holders, traces."""
    problems: list[str] = []
    try:
        lab.wait_healthy(health_seconds)
    except LabError as error:
        problems.append(error.message)
    try:
        problems += check_holders(lab, find_holders(lab))
    except LabError as error:
        problems.append(f"holders of the floating IP: {error.message.splitlines()[0]}")
    return problems + find_traces(lab, lab.topology.nodes)


def check_holders(lab: Lab, holders: Sequence[str]) -> list[str]:
    """Whether the floating IP, where there is one, has one holder."""
    if lab.topology.load_balancer is None or len(holders) == 1:
        return []
    return [f"holders of the floating IP: {', '.join(holders) or 'none'}; must be one"]


def find_traces(lab: Lab, nodes: Sequence[Node]) -> list[str]:
    """What a fault of ours has left on these machines; those without power have nothing left."""
    if not nodes:
        return []
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        found = pool.map(lambda node: _look(lab, node), nodes)
        return [f"{node.name}: {problem}" for node, problems in zip(nodes, found, strict=True) for problem in problems]


def _look(lab: Lab, node: Node) -> list[str]:
    machine = lab.machine(node.name)
    try:
        return machine.run(audit_script(node), timeout=_AUDIT_SECONDS).stdout.splitlines()
    except LabError as error:
        if not machine.is_running():
            return [NO_POWER]
        frozen = machine.is_frozen()
        return ["is frozen" if frozen else f"could not be looked at: {error.message.splitlines()[0]}"]


def audit_script(node: Node) -> str:
    """Bash that prints what is left on a machine of this role, a line each."""
    return f"# audit\n{_RULES}{_STOPPED}{_CONSTRAINTS if node.role == 'lb' else ''}"

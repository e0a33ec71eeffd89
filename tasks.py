"""The tasks: a switchboard. Each parses its options, calls one function and returns that function's exit code.

``./lab TASK`` runs one after setting up what is missing; ``invoke TASK`` does inside the environment.
Modules are imported by the task that needs them, so that each command starts as fast as it can.
"""

from __future__ import annotations

import sys

from invoke.collection import Collection
from invoke.context import Context

from rackbox import bundle_tasks, image_tasks, kubernetes_tasks, lab_tasks, schedule_tasks
from rackbox.task import after_double_dash, command, lab_file, out_file, path_or_none


@command(provider="ask whether this one can run: lxc, libvirt, virtualbox (default: as the lab's file says; auto: lxc)")
def doctor(_: Context, provider: str = "", lab: str = "", json: bool = False) -> int:
    """Show what this computer can run, what is missing, and how to get it."""
    from rackbox import doctor

    return doctor.command(provider, json, lab_file(lab))


@command()
def plan(_: Context, lab: str = "", json: bool = False, out: str = "") -> int:
    """Show the lab that a config means: machines, addresses, names. Makes nothing."""
    from rackbox import show

    return show.plan_command(lab_file(lab), json, out_file(out))


@command(to="write the files into this directory (default: the lab's own)")
def render(_: Context, lab: str = "", to: str = "") -> int:
    """Write every file that the lab is made from. Needs no hypervisor."""
    from rackbox import show

    return show.render_command(lab_file(lab), path_or_none(to))


@command(
    iterable=["machine"],
    resume="go on with the machines that an earlier `up` left unfinished",
    renew="then replace, one by one, the machines that run another box than the current one",
    machine="replace this one, whatever its box (may be given again)",
    box="the box's version (default: the current one)",
)
def up(
    _: Context,
    machine: list[str],
    lab: str = "",
    provider: str = "",
    resume: bool = False,
    renew: bool = False,
    box: str = "",
) -> int:
    """Boot the lab, all machines at once; builds the box first if there is none. Safe to run again."""
    from rackbox import up

    return up.command(lab_file(lab), provider, resume, renew, machine, box)


@command()
def status(_: Context, lab: str = "", json: bool = False, out: str = "") -> int:
    """Show the health of each machine and service, and one verdict (exit 0 healthy, 1 not)."""
    from rackbox import status

    return status.command(lab_file(lab), json, out_file(out))


@command(
    iterable=["scenario"],
    scenario="run this one (may be given again; default: all that suit the lab)",
    repeat="how many times each",
    list="show the scenarios and their budgets",
    trend="show how the scenarios came out in all series so far",
    junit="write JUnit XML for a CI system to this file",
    html="write the report as one HTML page to this file, too",
    judge="compute the verdict of an earlier run again, from its history",
    resume="go on with a series that was broken off (its time stamp)",
)
def failover_test(
    _: Context,
    scenario: list[str],
    lab: str = "",
    repeat: int = 1,
    list_: bool = False,
    trend: bool = False,
    judge: str = "",
    resume: str = "",
    json: bool = False,
    out: str = "",
    junit: str = "",
    html: str = "",
) -> int:
    """Break the lab on purpose, measure what a client saw, heal it (exit 0 held, 1 over budget, 2 unknown)."""
    from rackbox import failover

    outputs = failover.Outputs(json, out_file(out), out_file(junit, "--junit"), out_file(html, "--html"))
    if list_ or trend:
        return (failover.list_command if list_ else failover.trend_command)(lab_file(lab), outputs)
    return failover.command(lab_file(lab), scenario, repeat, outputs, judged=judge, resume=resume)


@command(node="the machine's name")
def ssh(_: Context, node: str, lab: str = "") -> int:
    """Log in to a machine, or run the command after `--` there."""
    from rackbox import ssh

    return ssh.command(lab_file(lab), node, after_double_dash(sys.argv))


@command()
def shell(_: Context, lab: str = "") -> int:
    """Open a shell where the lab's clients stand, or run the command after `--` there."""
    from rackbox import ssh

    return ssh.shell(lab_file(lab), after_double_dash(sys.argv))


@command(keep="stop the machines but keep them, to be started again by `up`")
def down(_: Context, lab: str = "", keep: bool = False) -> int:
    """Remove all that `up` made."""
    from rackbox import down

    return down.command(lab_file(lab), keep)


@command(
    name="test",
    e2e="real machines, too (needs root, builds the box if there is none)",
    vm="virtual machines (needs root, builds their box if there is none)",
    kubernetes="a real cluster, and nothing else (needs root and a bundle)",
)
def run_tests(_: Context, e2e: bool = False, vm: bool = False, kubernetes: bool = False) -> int:
    """Run the project's own tests; what follows `--` goes to pytest."""
    from rackbox import selftest

    return selftest.command(e2e, vm, kubernetes, after_double_dash(sys.argv))


namespace = Collection(
    doctor, plan, render, up, status, failover_test, ssh, shell, down, run_tests, *kubernetes_tasks.TASKS
)
for collection in (image_tasks.COLLECTION, schedule_tasks.COLLECTION, bundle_tasks.COLLECTION, *lab_tasks.COLLECTIONS):
    namespace.add_collection(collection)

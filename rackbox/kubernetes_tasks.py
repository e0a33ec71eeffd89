"""The tasks about a lab's cluster, a part of the switchboard: each parses its options and calls one function."""

from __future__ import annotations

import sys

from rackbox.task import Context, after_double_dash, command, lab_file


@command()
def kubectl(_: Context, lab: str = "") -> int:
    """Run kubectl, with what stands after `--`, against the lab's cluster."""
    from rackbox import kubeconfig

    return kubeconfig.command(lab_file(lab), after_double_dash(sys.argv))


@command(remove="take it out of the cluster again")
def demo(_: Context, lab: str = "", remove: bool = False) -> int:
    """Have a web application with a database in the lab's cluster, and say where it answers."""
    from rackbox import demo

    return demo.command(lab_file(lab), remove)


@command(bundle="the bundle to go to: a directory, or a version or its beginning (default: the newest that is allowed)")
def upgrade(_: Context, lab: str = "", bundle: str = "") -> int:
    """Take the lab's cluster to another bundle, one machine at a time, while its API answers."""
    from rackbox import upgrade

    return upgrade.command(lab_file(lab), bundle)


TASKS = (kubectl, demo, upgrade)

"""`invoke up --renew`: replaces machines that stand on an older box one by one, while probes watch the floating IP.

Entry point: ``renew_lab``. How it goes is ``rolling``'s. What the probes saw is in the lab's ``runs/renewal-<time>/``:
``history.jsonl`` and ``renewal.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from rackbox.box import current_box
from rackbox.errors import EXIT_OK, LabError
from rackbox.lab import LiveLab, lab_lock
from rackbox.renewal import find_older
from rackbox.rolling import Rolling

LOOKING_ON = ("etcd-read", "etcd-write")
OF_CLUSTER = ("api-write",)


def renew_lab(lab: LiveLab, console: Console, only: Sequence[str] = ()) -> int:
    """Replace the machines of an older box, or just those named in ``only``, whatever their box. The lab is up and
    healthy: ``bring_up`` has just seen to that. 0: all are new and well; 1: one is not, or a write was lost."""
    for name in only:
        lab.require_node(name)
    with lab_lock(lab.paths):
        state, box = lab.state, current_box(lab.home.boxes, lab.topology.os, lab.provider.name)
        if state is None or box is None:
            raise LabError(f"lab {lab.topology.lab} has no box to be renewed from", "build one with `./lab image`")
        older = find_older(lab.topology, lab.provider.box_versions(lab.topology, lab.paths), box.version)
        waiting = list(only) or [node.name for node in older]
        if not waiting:
            console.print(f"all machines of lab {lab.topology.lab} run box {box.version}: nothing to renew")
            return EXIT_OK
        console.print(f"to be made anew from box {box.version}: {', '.join(waiting)}", soft_wrap=True)
        probes = (*LOOKING_ON, *(OF_CLUSTER if lab.topology.kubernetes else ()))
        return Rolling(lab, box, state, console, probes).run(waiting)

"""Machines that a lab's file has no longer: before they are removed, what they do is moved elsewhere, and afterwards
those that stay forget them.

Entry points: ``check_masters``, ``leave``, ``forget_gone``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rackbox.cluster import drain, forget_strangers
from rackbox.errors import LabError
from rackbox.handover import ASK_ETCD, MOVE_LEADER, STOP_CONTROL_PLANE, STOP_ETCD, set_backends
from rackbox.lab import LiveLab
from rackbox.progress import Steps
from rackbox.render import GUEST_LIBRARY
from rackbox.state import LabState
from rackbox.wait import NotYet, wait_for

LEAVE_SECONDS = 150.0
FORGET_SECONDS = 60.0

# etcd refuses as long as a majority would be lost by it. Somebody else is asked, because a member that is out ends
# before it has answered.
_LEAVE = f""". /etc/rackbox/env
if [[ -d /etc/kubernetes/manifests ]]; then
  {STOP_CONTROL_PLANE}
fi
{ASK_ETCD}
if ask maintenance/status '{{}}' >/dev/null; then
  {MOVE_LEADER}
fi
RACKBOX_ROOT=
. {GUEST_LIBRARY}/master/etcd.sh
for _ in {{1..100}}; do
  if find_cluster && id=$(own_entry ID); then
    if [[ -z $id ]] || ask_members "$voice" remove "{{\\"ID\\": \\"$id\\"}}" >/dev/null; then
      {STOP_ETCD}
      exit 0
    fi
  fi
  sleep 0.3
done
exit 1
"""

_FORGET = """{ask}
list=$(ask cluster/member/list '{{"linearizable": true}}')
strangers=$(jq --raw-output --argjson known '{known}' \
  '.members[] | select(.peerURLs - $known != []) | .ID' <<<"$list")
for id in $strangers; do
  ask cluster/member/remove "{{\\"ID\\": \\"$id\\"}}" >/dev/null
done
"""


def check_masters(lab: LiveLab, state: LabState) -> None:
    """Refuse a change of masters, or of what starts etcd there, that etcd cannot follow. Raises ``LabError``.

    Members are taken out one by one while all run. Of a lab that is off, or not whole, those that stay have to be a
    majority by themselves.
    """
    before, now = state.masters, [node.name for node in lab.topology.by_role("master")]
    gone = [name for name in before if name not in now]
    stay = [name for name in before if name in now]
    if before and state.stacked != lab.topology.has_stacked_etcd:
        was, got = ("stacked", "external") if state.stacked else ("external", "stacked")
        text = f"kubernetes.etcd: must stay {was}, as long as the lab has its data; got {got}"
        raise LabError(text, f"put it back, or take {lab.topology.lab} down first")
    if not gone:
        return
    if not stay:
        text = (
            f"nodes.master: must keep one of {', '.join(before)}, who have etcd's data; got {', '.join(now) or 'none'}"
        )
        raise LabError(text, f"change them in two steps, or take {lab.topology.lab} down first")
    whole = {*before} <= lab.provider.running(lab.topology, lab.paths)
    if not whole and 2 * len(stay) <= len(before):
        text = f"nodes.master: must stay {len(before)} until all of them run; got {len(now)}"
        hint = "etcd lets nobody go without a majority: put it back, `./lab up`, then change it"
        raise LabError(text, hint)


def leave(lab: LiveLab, state: LabState, gone: Sequence[str], running: Collection[str], steps: Steps) -> None:
    """Have those of ``gone`` that run hand over what they do, as long as there is a majority of masters to say so."""
    masters = state.masters or tuple(node.name for node in lab.topology.by_role("master"))
    if 2 * len({*masters} & {*running}) <= len(masters):
        return
    for name in (name for name in gone if name in running):
        if lab.topology.kubernetes is not None:
            with steps.step(f"{name} drained"):
                drain(lab, name)
        set_backends(lab, name, "drain")
        if name in masters:
            lab.connections.run(name, _LEAVE, timeout=LEAVE_SECONDS * lab.provider.patience)


def forget_gone(lab: LiveLab, state: LabState) -> None:
    """Once the others run: also of machines that went while the lab was off."""
    masters = lab.topology.by_role("master")
    if state.masters and {*state.masters} != {node.name for node in masters}:
        known = ", ".join(f'"https://{node.address}:2380"' for node in masters)
        script = _FORGET.format(ask=ASK_ETCD, known=f"[{known}]")

        def forget() -> None:
            done = lab.connections.run(masters[0].name, script, timeout=20, check=False)
            if not done.ok:
                raise NotYet(done.stderr.strip() or f"exit code {done.returncode}")

        wait_for("etcd's members that are gone forgotten", forget, timeout=FORGET_SECONDS * lab.provider.patience)
    if lab.topology.kubernetes is not None:
        forget_strangers(lab, [node.name for node in lab.topology.kubernetes_nodes])

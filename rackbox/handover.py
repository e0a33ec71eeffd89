"""How a machine leaves the lab before it is made anew, by the services' own clean ways, and comes back to it.

Entry points: ``withdraw`` (its work is elsewhere and its services are stopped), ``welcome`` (it may have work again),
``undo`` (it stays after all), ``set_backends``, ``KEPT`` (what it takes along). A new role that has nothing to hand
over needs no line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rackbox.cluster import drain, is_node, uncordon
from rackbox.errors import MachineError
from rackbox.faults.daemons import ETCD_IS_A_POD
from rackbox.lab import LiveLab
from rackbox.runtimes import runtime_of
from rackbox.targets import find_holders
from rackbox.topology import Node, Role
from rackbox.wait import NotYet, wait_for

LEAVE_SECONDS = 60.0
TAKE_OVER_SECONDS = 20.0
DRAIN_SECONDS = 3.0

KEPT: Mapping[Role, tuple[str, ...]] = {
    "gateway": ("/var/lib/misc/dnsmasq.leases",),
    # Who this server is, who its peers are, and what the volume is made of; the files themselves are on a volume.
    "gluster": ("/var/lib/glusterd",),
}

_STOP_UNITS = """for unit in {units}; do
  if systemctl is-active --quiet "$unit"; then systemctl stop "$unit"; fi
done"""

ASK_ETCD = """ask() {
  curl --silent --show-error --fail --max-time 2 --cacert /etc/etcd/pki/ca.pem --cert /etc/etcd/pki/node.pem \\
    --key /etc/etcd/pki/node.key --data "$2" "https://127.0.0.1:2379/v3/$1"
}
"""

MOVE_LEADER = f"""{ASK_ETCD}
status=$(ask maintenance/status '{{}}')
self=$(jq --raw-output .header.member_id <<<"$status")
if [[ $(jq --raw-output .leader <<<"$status") == "$self" ]]; then
  others=$(ask cluster/member/list '{{"linearizable": false}}' |
    jq --raw-output --arg self "$self" '.members[] | select(.ID != $self and .isLearner != true) | .ID')
  if [[ -n $others ]]; then
    ask maintenance/transfer-leadership "{{\\"targetID\\": \\"$(head -n 1 <<<"$others")\\"}}" >/dev/null
  fi
fi"""


# A kubelet ends a static pod when its manifest goes: in good order, so that leases are given back and watches are told.
# The API server last: the others need it for that.
END_POD = """cd /etc/kubernetes
mkdir -p withdrawn
end() {
  local part
  for part; do
    if [[ -e manifests/$part.yaml ]]; then mv "manifests/$part.yaml" withdrawn/; fi
  done
  for _ in {1..150}; do
    pgrep --full "^($(IFS='|'; echo "$*")) " >/dev/null || return 0
    sleep 0.2
  done
}"""

STOP_CONTROL_PLANE = f"""{END_POD}
end kube-controller-manager kube-scheduler
end kube-apiserver"""

_BRING_BACK = """for file in /etc/kubernetes/withdrawn/*.yaml; do
  if [[ -e $file ]]; then mv "$file" /etc/kubernetes/manifests/; fi
done
"""


STOP_ETCD = f"""if {ETCD_IS_A_POD}; then
{END_POD}
end etcd
else
  systemctl stop etcd.service
fi"""


def withdraw(lab: LiveLab, node: Node) -> None:
    """Move what the machine does elsewhere, then stop it doing it. Raises ``LabError``; then call ``undo``."""
    steps: dict[str, Callable[[LiveLab, Node], None]] = {
        "lb": _withdraw_balancer,
        "master": _withdraw_master,
        "gluster": _withdraw_gluster,
        "worker": _withdraw_worker,
    }
    if is_node(lab, node.name):
        drain(lab, node.name)
    set_backends(lab, node.name, "drain")
    if step := steps.get(node.role):
        step(lab, node)


def welcome(lab: LiveLab, node: Node) -> None:
    """Let the balancers send requests there again, as soon as their own checks find it well, and the cluster its pods.
    Idempotent."""
    set_backends(lab, node.name, "ready")
    if is_node(lab, node.name):
        uncordon(lab, node.name)


def undo(lab: LiveLab, node: Node) -> None:
    """The machine stays as it was: its own hooks start again what was stopped."""
    back = _BRING_BACK if node.role == "master" and is_node(lab, node.name) else ""
    lab.connections.run(node.name, f"{back}systemctl restart --no-block rackbox-provision.service", timeout=30)
    welcome(lab, node)


def read_kept(lab: LiveLab, node: Node) -> str:
    """What the machine takes along, as a tar archive in base64; empty where there is nothing."""
    paths = " ".join(path.lstrip("/") for path in KEPT.get(node.role, ()))
    if not paths:
        return ""
    # Sockets cannot be archived, and are made anew.
    script = f"""cd / && tar --create --numeric-owner --sparse --ignore-failed-read \
  --warning=no-file-ignored {paths} | base64"""
    return lab.connections.run(node.name, script, timeout=60).stdout


def _withdraw_balancer(lab: LiveLab, node: Node) -> None:
    """The cluster moves the address when it is told that this balancer leaves, and nobody is missed afterwards."""
    others = [other for other in lab.topology.by_role("lb") if other.name != node.name]
    units = "keepalived.service pacemaker.service corosync-qdevice.service corosync.service"
    lab.connections.run(node.name, _STOP_UNITS.format(units=units), timeout=LEAVE_SECONDS)
    if not others:
        return

    def taken() -> None:
        holders = find_holders(lab)
        if len(holders) != 1 or holders[0] == node.name:
            raise NotYet(f"held by {', '.join(holders) or 'nobody'}")

    wait_for("the floating IP on another balancer", taken, timeout=TAKE_OVER_SECONDS)


def _withdraw_master(lab: LiveLab, node: Node) -> None:
    lead = f"{STOP_CONTROL_PLANE}\n" if is_node(lab, node.name) else ""
    script = f"{lead}{MOVE_LEADER}\n{STOP_ETCD}"
    lab.connections.run(node.name, script, timeout=LEAVE_SECONDS * (3 if lead else 1))


def _withdraw_gluster(lab: LiveLab, node: Node) -> None:
    """Bricks that end by themselves close their connections: clients go on at once, not after the ping's timeout."""
    script = """systemctl stop glusterd.service
for name in glusterfsd glusterfs; do pkill --exact "$name" || true; done
for _ in {1..50}; do pgrep --exact 'glusterfsd?' >/dev/null || break; sleep 0.1; done"""
    lab.connections.run(node.name, script, timeout=LEAVE_SECONDS)


def _withdraw_worker(lab: LiveLab, node: Node) -> None:
    script = f"""{_STOP_UNITS.format(units=" ".join(runtime_of(lab.topology).units))}
if mountpoint --quiet '{lab.topology.gluster_mount}'; then umount '{lab.topology.gluster_mount}' || true; fi"""
    lab.connections.run(node.name, script, timeout=LEAVE_SECONDS)


def set_backends(lab: LiveLab, name: str, state: str) -> None:
    """Tell HAProxy on every balancer that runs what becomes of a machine; when draining, wait a moment for what is
    under way."""
    # On a balancer that stands by there may be none (haproxy.runs_on: holder).
    script = f"""systemctl is-active --quiet haproxy.service || exit 0
socket=UNIX-CONNECT:/run/haproxy/admin.sock
servers=$(
  socat - "$socket" <<<'show servers state' | awk '$4 ~ /^{name}(-unchecked)?$/ {{ print $2 "/" $4 }}'
)
for server in $servers; do
  answer=$(socat - "$socket" <<<"set server $server state {state}")
  if [[ -n ${{answer//[[:space:]]/}} ]]; then echo "$server: $answer" >&2; exit 1; fi
done"""
    if state == "drain":
        script += f"""
[[ -n $servers ]] || exit 0
for _ in {{1..{int(DRAIN_SECONDS * 10)}}}; do
  busy=$(
    socat - "$socket" <<<'show stat' | awk -F, '$2 ~ /^{name}(-unchecked)?$/ {{ sum += $5 }} END {{ print sum + 0 }}'
  )
  ((busy == 0)) && break
  sleep 0.1
done"""
    for balancer in lab.topology.by_role("lb"):
        if not lab.machine(balancer.name).is_running():
            continue
        result = lab.connections.run(balancer.name, script, timeout=10 + DRAIN_SECONDS, check=False)
        if not result.ok:
            raise MachineError(f"{balancer.name}: HAProxy did not set {name} to {state}: {result.stderr}")

"""The daemons that faults are about: their units, and what brings each back to work. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from rackbox.faults.pod_processes import PodProcess
from rackbox.topology import Role

# Pacemaker remembers that a resource has failed, and places it by that: the next test would meet another cluster.
FORGET_FAILURES = """\
if systemctl is-active --quiet pacemaker.service && timeout 5 crm_mon -1 --output-as=xml | grep '<failure ' >/dev/null
then
    timeout 10 crm_resource --cleanup >/dev/null
fi
"""

_START = """\
if ! systemctl is-active --quiet {unit}; then
    systemctl reset-failed {unit} 2>/dev/null || true
    systemctl start --no-block {unit}
fi
"""

# One that was stopped in the middle of being stopped or started hangs in that state until it goes on.
_GO_ON = """\
if [[ -n $(systemctl show --property=ControlGroup --value {unit}) ]]; then
    systemctl kill --kill-whom=all --signal=SIGCONT {unit} || true
fi
"""

ETCD_IS_A_POD = "grep --quiet '^RACKBOX_ETCD=' /etc/rackbox/env"
"""Bash: whether the kubelet starts etcd on this machine, and not systemd."""

# A kubelet waits before it starts a container again that has ended more than once: ten seconds, and before Kubernetes
# 1.35 longer each time, up to five minutes. It forgets that when it is started again itself, but asks the API server
# beside it for a minute then, which waits for this very container: so that comes last. Its containers go on meanwhile.
_MEND_POD = """\
{go_on} || true
for _ in {{1..40}}; do
    ! pgrep --full '{ids}' >/dev/null || break
    sleep 0.25
done
if ! pgrep --full '{ids}' >/dev/null; then
    systemctl restart kubelet.service
fi
"""
_STATES = r"""\
group=$(systemctl show --property=ControlGroup --value {unit})
for pid in $([[ -z $group ]] || cat "/sys/fs/cgroup$group/cgroup.procs"); do
    printf '%s:%s ' "$pid" "$(ps --no-headers --format state --pid "$pid" || echo -)"
done
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """``heal`` is bash that makes it run again, whatever was done to it. ``role`` has it, and ``stacks``: as in
    ``Fault``. ``pod`` are its processes where it is no unit, but a pod of a cluster (a stacked etcd)."""

    name: str
    unit: str
    role: Role
    heal: str
    stacks: tuple[str, ...] = ()
    pod: PodProcess | None = None

    @property
    def mend(self) -> str:
        plain = _GO_ON.format(unit=self.unit) + self.heal
        if self.pod is None:
            return plain
        return self._either(plain, _MEND_POD.format(go_on=self.pod.signal("CONT"), ids=self.pod.pattern))

    def signal(self, name: str) -> str:
        """Bash that sends a signal to every process of it."""
        plain = f"systemctl kill --kill-whom=all --signal=SIG{name} {self.unit}\n"
        return self._either(plain, f"{self.pod.signal(name)}\n" if self.pod else "")

    @property
    def main_pid(self) -> str:
        """Bash that prints its main process id; 0 or nothing while there is none."""
        plain = f"systemctl show --property=MainPID --value {self.unit}\n"
        return self._either(plain, f"{self.pod.pids}\n" if self.pod else "")

    @property
    def states(self) -> str:
        """Bash that prints pid and state of every process of it: ``334:S 362:S``."""
        return self._either(_STATES.format(unit=self.unit), self.pod.states if self.pod else "")

    def _either(self, as_unit: str, as_pod: str) -> str:
        if self.pod is None:
            return as_unit
        return f"if {ETCD_IS_A_POD}; then\n{as_pod}else\n{as_unit}fi\n"


def _start(*units: str) -> str:
    return "".join(_START.format(unit=unit) for unit in units)


# Where Pacemaker keeps HAProxy, its memory of failures must go, and then it starts what it wants to have started.
# Elsewhere systemd may have given up, or somebody has stopped it.
HAPROXY = Daemon(
    "haproxy",
    "haproxy.service",
    "lb",
    f"if systemctl is-active --quiet pacemaker.service; then\n{FORGET_FAILURES}else\n{_start('haproxy.service')}fi\n",
)
# The third vote's daemon ends with Corosync, and does not come back with it.
_START_CLUSTER = f"""\
{_start("corosync.service")}\
if grep --quiet '^ *device {{' /etc/corosync/corosync.conf; then
{_start("corosync-qdevice.service")}\
fi
{_start("pacemaker.service")}{FORGET_FAILURES}"""
COROSYNC = Daemon("corosync", "corosync.service", "lb", _START_CLUSTER, ("pacemaker",))
PACEMAKER = Daemon("pacemaker", "pacemaker.service", "lb", _START_CLUSTER, ("pacemaker",))
KEEPALIVED = Daemon("keepalived", "keepalived.service", "lb", _start("keepalived.service"), ("keepalived",))
ETCD = Daemon("etcd", "etcd.service", "master", _start("etcd.service"), pod=PodProcess("etcd", "^etcd --", ("master",)))

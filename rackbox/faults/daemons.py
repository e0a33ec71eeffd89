"""The daemons that faults are about: their units, and what brings each back to work. Data only."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Daemon:
    """``heal`` is bash that makes it run again, whatever was done to it. ``role`` has it, and ``stacks``: as in
    ``Fault``."""

    name: str
    unit: str
    role: Role
    heal: str
    stacks: tuple[str, ...] = ()

    @property
    def mend(self) -> str:
        return _GO_ON.format(unit=self.unit) + self.heal


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
ETCD = Daemon("etcd", "etcd.service", "master", _start("etcd.service"))

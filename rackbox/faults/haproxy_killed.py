"""HAProxy killed: SIGKILL to every process of the unit, master and workers alike, as the kernel's OOM killer would."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site

UNIT = "haproxy.service"

# Where Pacemaker keeps HAProxy, its memory of failures must go as well, or the next runs meet another cluster: one that
# has counted. Elsewhere systemd may have given up after too many restarts.
_HEAL = f"""
if systemctl is-active --quiet pacemaker.service; then
    if crm_mon -1 --output-as=xml | grep '<failure ' >/dev/null; then
        crm_resource --cleanup >/dev/null
    fi
elif ! systemctl is-active --quiet {UNIT}; then
    systemctl reset-failed {UNIT} || true
    systemctl start {UNIT}
fi
"""


class HaproxyKilled(Fault):
    name = "haproxy-killed"
    summary = "SIGKILL to every process of haproxy.service"

    def inject(self, site: Site) -> None:
        for machine in site.machines:
            machine.run(f"systemctl kill --kill-whom=all --signal=SIGKILL {UNIT}")

    def heal(self, site: Site) -> None:
        for machine in site.machines:
            if machine.is_running():
                machine.run(_HEAL, timeout=30.0)

    def evidence(self, site: Site) -> Evidence:
        """Per machine the unit's main process id; 0 while there is none."""
        script = f"systemctl show --property=MainPID --value {UNIT}"
        return {machine.node.name: machine.run(script).stdout.strip() for machine in site.machines}

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(pid not in ("", "0") and after.get(name) != pid for name, pid in before.items())

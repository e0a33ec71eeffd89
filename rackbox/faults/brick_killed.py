"""A Gluster brick's process killed; its server, and all that else runs there, goes on."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.topology import Topology

_BRICK = "glusterfsd .*--brick-name "
# glusterd starts no brick again by itself; this does, and leaves those that run alone.
_START = """\
if systemctl is-active --quiet glusterd.service && ! pgrep --full '{brick}' >/dev/null; then
    timeout 10 gluster --mode=script volume start {volume} force >/dev/null
fi
"""


class BrickKilled(Fault):
    name = "brick-killed"
    roles = ("gluster",)
    summary = "SIGKILL to the brick's glusterfsd"

    def inject(self, site: Site) -> None:
        self.break_inside(site, f"pkill --signal KILL --full '{_BRICK}'")

    def heal(self, site: Site) -> None:
        self.mend_inside(site, _START.format(brick=_BRICK, volume=_volume(site.lab.topology)))

    def evidence(self, site: Site) -> Evidence:
        """Per machine the process's id; empty while there is none."""
        return self.look_inside(site, f"pgrep --full '{_BRICK}' || true")

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(bool(pid) and after.get(name) != pid for name, pid in before.items())


def _volume(topology: Topology) -> str:
    return topology.gluster_volume or "none"

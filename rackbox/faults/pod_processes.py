"""Processes of pods, seen from their machine: found by their command line, as no unit of systemd is theirs. A kubelet
starts again what ends."""

from __future__ import annotations

from dataclasses import dataclass

from rackbox.topology import Role


@dataclass(frozen=True, slots=True)
class PodProcess:
    """``pattern`` is an extended regular expression of the whole command line; ``roles`` may run it."""

    name: str
    pattern: str
    roles: tuple[Role, ...]

    def signal(self, number: str) -> str:
        """Bash that sends a signal to every process of it; fails where there is none."""
        return f"pkill --signal {number} --full '{self.pattern}'"

    @property
    def pids(self) -> str:
        """Bash that prints their ids."""
        return f"pgrep --full '{self.pattern}' | paste --serial -d ' ' || true"

    @property
    def states(self) -> str:
        """Bash that prints id and state of each: ``334:S 362:S``."""
        return f"""\
for pid in $(pgrep --full '{self.pattern}'); do
    printf '%s:%s ' "$pid" "$(ps --no-headers --format state --pid "$pid" || echo -)"
done
"""


API_SERVER = PodProcess("api-server", "^kube-apiserver ", ("master",))
CONTROLLER_MANAGER = PodProcess("controller-manager", "^kube-controller-manager ", ("master",))
COREDNS = PodProcess("coredns", "coredns -conf /etc/coredns/", ("master", "worker"))

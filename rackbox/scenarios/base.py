"""What a scenario is: data that reads like a sentence. Nothing here acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rackbox.topology import Role, Topology

LIMITS = {
    "failed": "failed requests of the judged probe",
    "failed_after_retry": "requests that failed twice: at first, and when they were tried again",
    "slow_ms": "the slowest good answer, in milliseconds",
    "double_holder_ms": "how long two machines held the floating IP, in milliseconds",
    "second_outage_ms": "the longest outage after the first one, in milliseconds",
    "links_given_up": "links between the balancers that the cluster gave up, by its own log",
    "cuts": "streams that were cut",
    "moves": "how often the floating IP moved",
}
"""What a scenario can promise besides its outage budget."""

PAIR: Mapping[Role, int] = {"lb": 2, "master": 1}
"""The machines without which nothing can fail over."""
SERVICE = ("etcd-read", "etcd-write", "floating-ip-arp")
"""The probes that look on in every scenario: a client that reads, one that writes, and who answers for the address."""

CLUSTER = ("api-read", "api-write", "api-watch", "api-logs", "floating-ip-arp")
"""Their like for a Kubernetes cluster: clients of its API, one that watches, and one that follows a log."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``fault`` happens to ``target`` while ``probes`` look on; ``judged`` is the probe that the budget is held
    against, and ``name`` the key of that budget in the lab's config (``failover.budgets``).

    ``limits`` are promises besides the budget (keys: ``LIMITS``), ``fenced_limits`` more of them that hold where the
    cluster may switch a lost balancer off. ``stacks`` are the values of ``load_balancer.ha`` that it is about (empty:
    all). ``needs`` is how many machines of a role it takes for this to be survivable.

    Seconds: ``start`` is how long the probes may take at most until all are good; ``recover`` is how long to wait at
    most until the probes are good again, ``settle`` how long they must stay good (longer than a probe's timeout, or a
    request still hanging is missed), ``heal`` how long the lab may take to be healthy after healing. ``lasts``: no
    stack is meant to notice this; it ends with healing, and so does the outage.

    ``expects_bite``: whether the fault must prove that it happened. ``one_holder``: whether the floating IP must have
    exactly one holder once the service is back, with the fault still there; after healing it always must.
    ``watchers``: whether the balancers' addresses are watched from inside.
    """

    name: str
    summary: str
    fault: str
    target: str
    probes: tuple[str, ...] = SERVICE
    judged: str = "etcd-read"
    needs: Mapping[Role, int] = field(default_factory=lambda: PAIR)
    limits: Mapping[str, float] = field(default_factory=dict)
    fenced_limits: Mapping[str, float] = field(default_factory=dict)
    stacks: tuple[str, ...] = ()
    start: float = 20.0
    recover: float = 30.0
    settle: float = 1.5
    heal: float = 60.0
    lasts: bool = False
    expects_bite: bool = True
    one_holder: bool = True
    watchers: bool = True

    def __post_init__(self) -> None:
        if self.judged not in self.probes:
            raise ValueError(f"scenario {self.name}: judged probe {self.judged} is not among its probes")
        if unknown := [name for name in (*self.limits, *self.fenced_limits) if name not in LIMITS]:
            raise ValueError(f"scenario {self.name}: unknown limits {', '.join(unknown)}")

    def slowed(self, patience: float) -> Scenario:
        """The same for machines that take ``patience`` times as long as containers: what it waits for at most."""
        return replace(
            self,
            start=self.start * patience,
            recover=self.recover if self.lasts else self.recover * patience,  # the former is how long it lasts
            settle=self.settle * patience,
            heal=self.heal * patience,
        )


def find_limits(topology: Topology, scenario: Scenario) -> dict[str, float]:
    """The promises that ``scenario`` makes on this lab."""
    balancer = topology.load_balancer
    fenced = balancer is not None and balancer.ha == "pacemaker" and balancer.fencing
    return {**scenario.limits, **(scenario.fenced_limits if fenced else {})}

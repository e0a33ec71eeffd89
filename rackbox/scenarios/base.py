"""What a scenario is: data that reads like a sentence. Nothing here acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rackbox.topology import Role


@dataclass(frozen=True, slots=True)
class Scenario:
    """``fault`` happens to ``target`` while ``probes`` look on; ``judged`` is the probe that the budget is held
    against, and ``name`` the key of that budget in the lab's config (``failover.budgets``).

    ``needs`` is how many machines of a role it takes for this to be survivable. Seconds: ``recover`` is how long to
    wait at most until the probes are good again, ``settle`` how long they must stay good (longer than a probe's
    timeout, or a request still hanging is missed), ``heal`` how long the lab may take to be healthy after healing.
    ``expects_bite``: whether the fault must prove that it happened. ``one_holder``: whether the floating IP must have
    exactly one holder afterwards.
    """

    name: str
    summary: str
    fault: str
    target: str
    probes: tuple[str, ...]
    judged: str
    needs: Mapping[Role, int] = field(default_factory=dict)
    recover: float = 30.0
    settle: float = 2.0
    heal: float = 60.0
    expects_bite: bool = True
    one_holder: bool = True

    def __post_init__(self) -> None:
        if self.judged not in self.probes:
            raise ValueError(f"scenario {self.name}: judged probe {self.judged} is not among its probes")

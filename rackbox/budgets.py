"""The largest outage, in milliseconds, that a client may see in each shipped scenario; ``failover.budgets`` of a lab's
config goes over it. Pure data, so that a config can be checked without knowing what a scenario does."""

from __future__ import annotations

BUDGETS_MS = {"haproxy-killed": 500, "holder-powered-off": 2_500, "etcd-leader-powered-off": 2_000}

"""The largest outage, in milliseconds, that a client may see in each shipped scenario; ``failover.budgets`` of a lab's
config goes over it. Pure data, so that a config can be checked without knowing what a scenario does.

They are what holds on any computer that is not overloaded; what a quiet one reaches is several times less. The two
``holder-cut-off-from-…`` last as long as the fault does; ``api-server-hung`` until four checks of a second each have
failed (`check.patient`)."""

from __future__ import annotations

BUDGETS_MS = {
    "haproxy-killed": 500,
    "haproxy-hung": 2_000,
    "haproxy-stopped": 2_000,
    "holder-powered-off": 1_500,
    "holder-frozen": 3_000,
    "holder-paused": 1_500,
    "holder-rebooted": 1_500,
    "holder-disk-full": 500,
    "planned-switchover": 500,
    "standby-powered-off": 500,
    "standby-rebooted": 500,
    "balancers-rebooted": 60_000,
    "balancers-cut-off": 2_000,
    "holder-cut-off": 2_000,
    "holder-cut-off-from-client": 6_000,
    "holder-cut-off-from-masters": 8_000,
    "cluster-packet-loss": 500,
    "cluster-packet-delay": 500,
    "corosync-killed": 3_000,
    "corosync-hung": 3_000,
    "pacemaker-killed": 3_000,
    "keepalived-killed": 1_500,
    "keepalived-hung": 1_500,
    "gateway-rebooted": 20_000,
    "master-powered-off": 1_500,
    "etcd-leader-powered-off": 3_500,
    "etcd-leader-killed": 3_000,
    "etcd-leader-cut-off": 3_500,
    "etcd-member-killed": 1_000,
    "etcd-member-cut-off": 1_500,
    "etcd-member-hung": 2_500,
    "gluster-node-powered-off": 6_000,
    "gluster-brick-killed": 3_000,
    "api-holder-powered-off": 2_000,
    "api-master-powered-off": 2_000,
    "api-etcd-member-killed": 2_000,
    "api-server-hung": 7_000,
    "controller-manager-killed": 30_000,
    "worker-powered-off": 90_000,
    "coredns-killed": 5_000,
}

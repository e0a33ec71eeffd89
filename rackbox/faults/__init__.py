"""The faults, by name. A new one is one file and one line here."""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.brick_killed import BrickKilled
from rackbox.faults.cut_off import CUT_OFFS
from rackbox.faults.daemons import COROSYNC, ETCD, HAPROXY, KEEPALIVED, PACEMAKER
from rackbox.faults.disk_full import DiskFull
from rackbox.faults.frozen import Frozen, Paused
from rackbox.faults.hung import Hung
from rackbox.faults.killed import Killed
from rackbox.faults.packet_delay import PacketDelay
from rackbox.faults.packet_loss import PacketLoss
from rackbox.faults.pod_hung import PodHung
from rackbox.faults.pod_killed import PodKilled
from rackbox.faults.pod_processes import API_SERVER, CONTROLLER_MANAGER, COREDNS
from rackbox.faults.powered_off import PoweredOff
from rackbox.faults.rebooted import Rebooted
from rackbox.faults.stopped import HaproxyStopped
from rackbox.faults.switched_over import SwitchedOver

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        *(Killed(daemon) for daemon in (HAPROXY, COROSYNC, PACEMAKER, KEEPALIVED, ETCD)),
        *(Hung(daemon) for daemon in (HAPROXY, COROSYNC, KEEPALIVED, ETCD)),
        HaproxyStopped(),
        SwitchedOver(),
        PoweredOff(),
        Frozen(),
        Paused(),
        Rebooted(),
        *CUT_OFFS,
        PacketLoss(),
        PacketDelay(),
        DiskFull(),
        BrickKilled(),
        PodHung(API_SERVER),
        PodKilled(CONTROLLER_MANAGER),
        PodKilled(COREDNS),
    )
}

__all__ = ["FAULTS", "Evidence", "Fault", "Site"]

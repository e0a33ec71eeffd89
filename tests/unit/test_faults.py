"""Faults, against machines that only pretend: what they send, what proves the bite, what healing sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackbox.errors import CommandFailed, LabError
from rackbox.faults import FAULTS, Evidence, Site, base, delayer, rebooted
from tests.fakes import FakeLab, with_stack

KILLED = ("haproxy", "corosync", "pacemaker", "keepalived", "etcd")
HUNG = ("haproxy", "corosync", "keepalived", "etcd")

INJECTIONS: dict[str, tuple[str, ...]] = {
    **{f"{name}-killed": (f"systemctl kill --kill-whom=all --signal=SIGKILL {name}.service",) for name in KILLED},
    **{f"{name}-hung": (f"systemctl kill --kill-whom=all --signal=SIGSTOP {name}.service",) for name in HUNG},
    "haproxy-stopped": ("systemctl stop haproxy.service",),
    "switched-over": ("crm_resource --resource floating-ip --move --node lb2", "192.168.4.20/32"),
    "rebooted": ("systemctl --no-block reboot",),
    "cut-off-from-peer": ("table inet rackbox_fault", "ip saddr { 192.168.4.22 }", "ip daddr { 192.168.4.22 }"),
    "cut-off-from-client": ("ip saddr { 192.168.4.1 } drop", "ip daddr { 192.168.4.1 } drop"),
    "cut-off-from-masters": ("ip saddr { 192.168.1.11, 192.168.1.12, 192.168.1.13 } drop",),
    "cut-off": ("table arp rackbox_fault", 'iifname { "dmz" } drop', 'oifname { "dmz" } drop'),
    "packet-loss": ("ip saddr { 192.168.4.22 } numgen random mod 100 < 5 counter drop",),
    "packet-delay": ("--destination 192.168.4.22 --jump NFQUEUE --queue-num 9011 --queue-bypass",),
    "disk-full": ("/var/lib/pacemaker", 'mount --bind /run/rackbox-full$directory "$directory"'),
    "brick-killed": ("pkill --signal KILL --full 'glusterfsd .*--brick-name '",),
    "api-server-hung": ("pkill --signal STOP --full '^kube-apiserver '",),
    "controller-manager-killed": ("pkill --signal KILL --full '^kube-controller-manager '",),
    "coredns-killed": ("pkill --signal KILL --full 'coredns -conf /etc/coredns/'",),
}
"""What each fault sends into the first machine; the others act from outside."""

HEALINGS: dict[str, tuple[str, ...]] = {
    "haproxy-hung": (
        "--signal=SIGCONT haproxy.service",
        "crm_resource --cleanup",
        "systemctl start --no-block haproxy",
    ),
    "corosync-killed": ("start --no-block corosync.service", "start --no-block pacemaker.service"),
    "keepalived-hung": ("--signal=SIGCONT keepalived.service", "start --no-block keepalived.service"),
    "etcd-killed": ("start --no-block etcd.service",),
    "cut-off": ("nft delete table inet rackbox_fault", "nft delete table arp rackbox_fault"),
    "packet-delay": ("--delete-chain RACKBOX_FAULT", "systemctl stop rackbox-delayer.service"),
    "disk-full": ("umount --lazy",),
    "switched-over": ("crm_resource --resource floating-ip --clear",),
    "brick-killed": ("gluster --mode=script volume start shared force",),
    "api-server-hung": ("pkill --signal CONT --full '^kube-apiserver ' || true",),
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    monkeypatch.setattr(base, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(rebooted, "_GONE_SECONDS", 0.0)
    return FakeLab(tmp_path)


def site_of(lab: FakeLab, fault: str) -> Site:
    """Machines on which the fault can be made; a switchover is the holder's alone."""
    role = next(iter(FAULTS[fault].roles), "lb")
    names = tuple(node.name for node in lab.topology.by_role(role))
    return Site(lab, names[: 1 if fault == "switched-over" else 2])


def sent_to(lab: FakeLab, site: Site, moment: str) -> list[str]:
    """The scripts of one moment that the site's first machine was given."""
    return [script for script in lab.machine(site.names[0]).calls if script.startswith(f"# {moment} ")]


@pytest.mark.parametrize("name", INJECTIONS)
def test_what_an_injection_sends(lab: FakeLab, name: str) -> None:
    site = site_of(lab, name)
    FAULTS[name].inject(site)
    (script,) = sent_to(lab, site, "inject")
    assert all(words in script for words in INJECTIONS[name])
    assert "mgmt" not in script
    assert "10.77." not in script


@pytest.mark.parametrize(("name", "signal"), [("etcd-killed", "KILL"), ("etcd-hung", "STOP")])
def test_an_etcd_that_is_a_pod_is_found_by_its_process(lab: FakeLab, name: str, signal: str) -> None:
    site = site_of(lab, name)
    FAULTS[name].inject(site)
    FAULTS[name].heal(site)
    (inject,), (heal,) = sent_to(lab, site, "inject"), sent_to(lab, site, "heal")
    for script, word in ((inject, signal), (heal, "CONT")):
        as_pod, as_unit = script.split("then\n", 1)[1].split("else\n", 1)
        assert f"pkill --signal {word} --full '^etcd --'" in as_pod
        assert "etcd.service" not in as_pod
        assert "etcd.service" in as_unit


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_acts_inside_or_needs_a_provider_that_can(name: str) -> None:
    assert (name in INJECTIONS) is not bool(FAULTS[name].needs)


@pytest.mark.parametrize("name", HEALINGS)
def test_what_healing_sends(lab: FakeLab, name: str) -> None:
    site = site_of(lab, name)
    FAULTS[name].heal(site)
    (script,) = sent_to(lab, site, "heal")
    assert all(words in script for words in HEALINGS[name])


BITES = [
    ("haproxy-killed", {"lb1": "10"}, {"lb1": "11"}, True),
    ("haproxy-killed", {"lb1": "10"}, {"lb1": "0"}, True),
    ("haproxy-killed", {"lb1": "10"}, {"lb1": "10"}, False),
    ("haproxy-killed", {"lb1": "0"}, {"lb1": "11"}, False),
    ("haproxy-killed", {"lb1": ""}, {"lb1": "11"}, False),
    ("haproxy-killed", {"lb1": "1", "lb2": "2"}, {"lb1": "3", "lb2": "2"}, False),
    ("pacemaker-killed", {"lb1": "10"}, {"lb1": "does not answer any more"}, True),
    ("pacemaker-killed", {"lb1": "does not answer any more"}, {"lb1": "10"}, False),
    ("corosync-hung", {"lb1": "1:S"}, {"lb1": "does not answer any more"}, True),
    ("corosync-hung", {"lb1": "does not answer any more"}, {"lb1": "does not answer any more"}, False),
    ("coredns-killed", {"worker1": "10 12"}, {"worker1": ""}, True),
    ("coredns-killed", {"worker1": "10 12"}, {"worker1": "14"}, True),
    ("coredns-killed", {"worker1": "10 12"}, {"worker1": "12 14"}, False),
    ("coredns-killed", {"worker1": ""}, {"worker1": "14"}, False),
    ("api-server-hung", {"master1": "1:S"}, {"master1": "1:T"}, True),
    ("api-server-hung", {"master1": "1:S"}, {"master1": "1:S"}, False),
    ("haproxy-hung", {"lb1": "1:S 2:R"}, {"lb1": "1:T 2:T"}, True),
    ("haproxy-hung", {"lb1": "1:S 2:S"}, {"lb1": "1:T 2:S"}, False),
    ("haproxy-hung", {"lb1": "1:S 2:S"}, {"lb1": "1:T"}, True),
    ("haproxy-hung", {"lb1": "1:S"}, {"lb1": "7:S"}, True),
    ("haproxy-hung", {"lb1": "1:T"}, {"lb1": "1:T"}, False),
    ("haproxy-hung", {"lb1": ""}, {"lb1": ""}, False),
    ("haproxy-hung", {"lb1": "1:-"}, {"lb1": "1:-"}, False),
    ("haproxy-stopped", {"lb1": "active 5"}, {"lb1": "inactive 0"}, True),
    ("haproxy-stopped", {"lb1": "active 5"}, {"lb1": "active 9"}, True),
    ("haproxy-stopped", {"lb1": "active 5"}, {"lb1": "active 5"}, False),
    ("haproxy-stopped", {"lb1": "inactive 0"}, {"lb1": "inactive 0"}, False),
    ("switched-over", {"lb1": True}, {"lb1": False}, True),
    ("switched-over", {"lb1": True}, {"lb1": True}, False),
    ("switched-over", {"lb1": False}, {"lb1": False}, False),
    ("powered-off", {"lb1": True}, {"lb1": False}, True),
    ("powered-off", {"lb1": True}, {"lb1": True}, False),
    ("powered-off", {"lb1": False}, {"lb1": False}, False),
    ("powered-off", {"lb1": True}, {}, False),
    ("frozen", {"lb1": False}, {"lb1": True}, True),
    ("frozen", {"lb1": False}, {"lb1": False}, False),
    ("frozen", {"lb1": True}, {"lb1": True}, False),
    ("rebooted", {"lb1": "77"}, {"lb1": "99"}, True),
    ("rebooted", {"lb1": "77"}, {"lb1": ""}, True),
    ("rebooted", {"lb1": "77"}, {"lb1": "77"}, False),
    ("rebooted", {"lb1": ""}, {"lb1": "99"}, False),
    ("cut-off", {"lb1": "tables: 0; answer: 10.0.0.1"}, {"lb1": "tables: 2; answer: none"}, True),
    ("cut-off", {"lb1": "tables: 0; answer: 10.0.0.1"}, {"lb1": "tables: 2; answer: 10.0.0.1"}, False),
    ("cut-off", {"lb1": "tables: 0; answer: 10.0.0.1"}, {"lb1": "does not answer any more"}, True),
    ("cut-off", {"lb1": "does not answer any more"}, {"lb1": "does not answer any more"}, False),
    ("cut-off", {"lb1": "tables: 0; answer: 10.0.0.1"}, {"lb1": "tables: 0; answer: none"}, False),
    ("cut-off", {"lb1": "tables: 0; answer: none"}, {"lb1": "tables: 2; answer: none"}, False),
    ("cut-off", {"lb1": "tables: 2; answer: none"}, {"lb1": "tables: 2; answer: none"}, False),
    ("packet-loss", {"lb1": "0"}, {"lb1": "1"}, True),
    ("packet-loss", {"lb1": "0"}, {"lb1": "0"}, False),
    ("packet-loss", {"lb1": "1"}, {"lb1": "1"}, False),
    ("packet-delay", {"lb1": "0.1"}, {"lb1": "50.2"}, True),
    ("packet-delay", {"lb1": "0.1"}, {"lb1": "30.0"}, False),
    ("packet-delay", {"lb1": "0.1"}, {"lb1": ""}, False),
    ("packet-delay", {"lb1": ""}, {"lb1": "50.0"}, False),
    ("disk-full", {"lb1": "/var/log"}, {"lb1": ""}, True),
    ("disk-full", {"lb1": "/var/log"}, {"lb1": "/var/log"}, False),
    ("disk-full", {"lb1": ""}, {"lb1": ""}, False),
    ("brick-killed", {"gluster1": "9"}, {"gluster1": ""}, True),
    ("brick-killed", {"gluster1": "9"}, {"gluster1": "9"}, False),
    ("brick-killed", {"gluster1": ""}, {"gluster1": ""}, False),
]


@pytest.mark.parametrize(("name", "before", "after", "bitten"), BITES)
def test_what_proves_a_bite(name: str, before: Evidence, after: Evidence, bitten: bool) -> None:
    assert FAULTS[name].bitten(before, after) is bitten


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_seen_is_no_bite(name: str) -> None:
    assert FAULTS[name].bitten({}, {}) is False


@pytest.mark.parametrize("bites", [True, False])
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_bites_is_seen_and_heals_twice(lab: FakeLab, name: str, bites: bool) -> None:
    lab.bites = bites
    site, fault = site_of(lab, name), FAULTS[name]
    fault.heal(site)
    assert lab.all_well
    fault.setup(site)
    before = fault.evidence(site)
    fault.inject(site)
    assert fault.bitten(before, fault.evidence(site)) is bites
    for _ in range(2):
        fault.heal(site)
        fault.teardown(site)
    assert lab.all_well


@pytest.mark.parametrize("name", FAULTS)
def test_a_machine_without_power_can_be_healed_and_not_be_broken(lab: FakeLab, name: str) -> None:
    site, fault = site_of(lab, name), FAULTS[name]
    for machine in site.machines:
        machine.power_off()
    fault.heal(site)
    if not fault.needs:
        for machine in site.machines:
            machine.power_off()
        with pytest.raises(LabError):
            fault.inject(site)


def test_power_is_said_by_whoever_takes_or_gives_it(lab: FakeLab) -> None:
    said: list[tuple[str, object, object]] = []
    site = Site(lab, ("lb1",), lambda event, fields: said.append((event, fields["machine"], fields["on"])))
    fault = FAULTS["powered-off"]
    fault.heal(site)
    fault.inject(site)
    fault.heal(site)
    fault.heal(site)
    assert said == [("power", "lb1", False), ("power", "lb1", True)]


def test_healing_waits_for_a_machine_that_is_booting(lab: FakeLab) -> None:
    lab.raises["heal"] = CommandFailed("lb1: connection refused")
    FAULTS["haproxy-hung"].heal(Site(lab, ("lb1",)))
    assert lab.moments == ["heal", "heal"]


def test_healing_that_fails_again_and_again_is_an_error(lab: FakeLab) -> None:
    lab.raises_always["heal"] = CommandFailed("lb1: exit 1")
    with pytest.raises(CommandFailed, match="lb1: exit 1"):
        FAULTS["cut-off"].heal(Site(lab, ("lb1",)))
    assert lab.moments == ["heal"] * base.MEND_TRIES


def test_under_keepalived_a_switchover_stops_it(tmp_path: Path) -> None:
    lab = FakeLab(tmp_path, with_stack("keepalived"))
    site = Site(lab, ("lb1",))
    FAULTS["switched-over"].inject(site)
    FAULTS["switched-over"].heal(site)
    assert "systemctl stop keepalived.service" in lab.machine("lb1").calls[0]
    assert "start --no-block keepalived.service" in lab.machine("lb1").calls[1]


def test_the_delayer_speaks_the_kernels_language() -> None:
    """linux/netlink.h and linux/netfilter/nfnetlink_queue.h: the verdict that lets packet 7 of queue 3 go."""
    text = delayer.message(delayer.VERDICT, 3, (2, bytes.fromhex("0000000100000007")))
    assert text.hex() == "20000000" + "0103" + "0100" + "0" * 16 + "00000003" + "0c000200" + "0000000100000007"
    packet = delayer.message(delayer.PACKET, 3, (5, b"xyz"), (1, bytes.fromhex("0000000708000300")))
    assert delayer.packet_ids(packet + packet) == [7, 7]
    assert delayer.packet_ids(packet[:18]) == []
    assert delayer.packet_ids(b"") == []

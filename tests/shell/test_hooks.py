"""Each hook against fake programs: it does its work, and does nothing when run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackbox.paths import PROJECT
from tests.shell.guest import FAKES, FakeGuest

NODE_OF = {"gateway": "gateway", "lb": "lb1", "master": "master1", "gluster": "gluster1", "worker": "worker1"}
EVERY_HOOK = sorted((PROJECT / "provision").rglob("[0-9][0-9]-*.sh"))
STACKS = ("default", "keepalived", "reference-pacemaker", "reference-keepalived")


def hooks() -> list[tuple[str, str, str]]:
    """Every hook with a lab and a machine that runs it; common ones on a machine with a lease and on the gateway, the
    balancers' with every stack."""
    found = []
    for path in sorted((PROJECT / "provision").glob("*/[0-9][0-9]-*.sh")):
        hook = f"{path.parent.name}/{path.name}"
        nodes = ["worker1", "gateway"] if path.parent.name == "common" else [NODE_OF[path.parent.name]]
        labs = STACKS if path.parent.name == "lb" else ("default",)
        found += [(lab, node, hook) for node in nodes for lab in labs]
    return found


@pytest.mark.parametrize(("lab", "node", "hook"), hooks())
def test_a_second_run_changes_nothing(lab: str, node: str, hook: str, tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, node, lab)
    first = guest.hook(hook)
    assert first.returncode == 0, first.stderr
    before = guest.files()
    guest.calls()
    second = guest.hook(hook)
    assert second.returncode == 0, second.stderr
    assert guest.changes() == []
    assert guest.files() == before


@pytest.mark.parametrize("path", EVERY_HOOK, ids=lambda path: path.name)
def test_style_of_a_hook(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# ")
    assert "set -euo pipefail" in lines
    assert len(lines) < 100
    assert path.stat().st_mode & 0o111
    assert not any("|| true" in line for line in lines)


@pytest.mark.parametrize(
    ("node", "hook", "started"),
    [
        ("gateway", "gateway/10-load-firewall.sh", "systemctl reload-or-restart nftables.service"),
        ("gateway", "gateway/20-serve-names-and-leases.sh", "systemctl restart dnsmasq.service"),
        ("lb1", "lb/10-start-haproxy.sh", "systemctl start haproxy.service"),
        ("gateway", "gateway/30-vote-third.sh", "systemctl restart corosync-qnetd.service"),
        ("master1", "master/10-start-etcd.sh", "systemctl start --no-block etcd.service"),
        ("gluster1", "gluster/10-start-glusterd.sh", "systemctl start glusterd.service"),
        ("worker1", "worker/10-start-containerd.sh", "systemctl start containerd.service"),
        ("worker1", "worker/20-mount-gluster.sh", "systemctl start mnt-shared.mount"),
    ],
)
def test_services_are_started(node: str, hook: str, started: str, tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, node)
    assert guest.hook(hook).returncode == 0
    assert started in guest.changes()


@pytest.mark.parametrize(
    ("node", "hook", "config", "expected"),
    [
        ("gateway", "gateway/10-load-firewall.sh", "etc/nftables.conf", "systemctl reload-or-restart nftables.service"),
        (
            "gateway",
            "gateway/20-serve-names-and-leases.sh",
            "etc/dnsmasq.d/rackbox.conf",
            "systemctl restart dnsmasq.service",
        ),
        ("lb1", "lb/10-start-haproxy.sh", "etc/haproxy/haproxy.cfg", "systemctl reload haproxy.service"),
        ("lb1", "lb/20-start-cluster.sh", "etc/rackbox/cib.xml", "cibadmin --replace --scope resources --xml-pipe"),
        (
            "lb1",
            "lb/20-start-cluster.sh",
            "etc/corosync/corosync.conf",
            "systemctl stop pacemaker.service corosync-qdevice.service corosync.service",
        ),
        ("lb1", "lb/20-start-cluster.sh", "etc/rackbox/quorum/own.pem", "systemctl restart corosync-qdevice.service"),
        (
            "gateway",
            "gateway/30-vote-third.sh",
            "etc/rackbox/quorum/own.pem",
            "systemctl restart corosync-qnetd.service",
        ),
        (
            "gateway",
            "gateway/30-vote-third.sh",
            "etc/default/corosync-qnetd",
            "systemctl restart corosync-qnetd.service",
        ),
        ("master1", "master/10-start-etcd.sh", "etc/default/etcd", "systemctl restart --no-block etcd.service"),
    ],
)
def test_a_changed_config_reaches_the_service(node: str, hook: str, config: str, expected: str, tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, node)
    assert guest.hook(hook).returncode == 0
    with (guest.root / config).open("a") as stream:
        stream.write("# changed\n")
    guest.calls()
    assert guest.hook(hook).returncode == 0
    assert expected in guest.changes()


def test_units_dropped_by_cloud_init_are_read(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "lb1")
    (guest.state / "reload").touch()
    assert guest.hook("lb/10-start-haproxy.sh").returncode == 0
    asked = [line for line in guest.changes() if line.startswith("systemctl")]
    started = [f"systemctl start {unit}" for unit in ("haproxy.service", "rackbox-watch-haproxy.service")]
    assert asked == ["systemctl daemon-reload", *started]


def test_a_config_that_haproxy_refuses_stops_the_hook(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "lb1")
    guest.fake("haproxy", "echo 'unknown keyword' >&2; exit 1")
    done = guest.hook("lb/10-start-haproxy.sh")
    assert done.returncode != 0
    assert "unknown keyword" in done.stderr
    assert guest.changes() == []


def test_the_own_name_is_known_without_dns(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "gateway")
    (guest.root / "etc/hosts").write_text("127.0.0.1 localhost\n10.0.0.1 old # rackbox: own name\n")
    assert guest.hook("common/20-name-self.sh").returncode == 0
    lines = (guest.root / "etc/hosts").read_text().splitlines()
    assert lines[0] == "127.0.0.1 localhost"
    assert "10.0.0.1" not in "\n".join(lines)
    assert [line.split()[:3] for line in lines[1:]] == [
        [str(nic.address.ip), "gateway.kube.demo", "gateway"] for nic in guest.node.lab_nics
    ]


def test_a_machine_that_left_the_lab_takes_its_lease_along(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "gateway")
    config = (guest.root / "etc/dnsmasq.d/rackbox.conf").read_text()
    known = next(line for line in config.splitlines() if line.startswith("dhcp-host="))
    mac, address, name = known.removeprefix("dhcp-host=").split(",")[:3]
    leases = guest.root / "var/lib/misc/dnsmasq.leases"
    leases.parent.mkdir(parents=True)
    stays = f"1800000000 {mac} {address} {name} ff:00\n"
    leases.write_text(f"1800000000 02:00:00:00:00:99 192.168.2.140 worker9 *\n{stays}")
    assert guest.hook("gateway/20-serve-names-and-leases.sh").returncode == 0
    assert leases.read_text() == stays
    asked = [line for line in guest.changes() if line.endswith("dnsmasq.service")]
    assert asked == ["systemctl stop dnsmasq.service", "systemctl restart dnsmasq.service"]


def test_no_lease_is_asked_for_again_and_then_said(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "worker1")
    guest.fake("ip", "")
    guest.fake("networkctl", "echo 'State: carrier (configuring)'")
    done = guest.hook("common/30-wait-network.sh", RACKBOX_WAIT_SECONDS="3")
    assert done.returncode == 1
    assert "no DHCP lease on node within 3 s" in done.stderr
    assert "configuring" in done.stderr
    assert "networkctl reconfigure node" in guest.calls()


def test_a_wait_says_what_was_last_seen(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "master1")
    guest.fake("curl", "echo 'connection refused' >&2; exit 7")
    done = guest.hook("master/10-start-etcd.sh", RACKBOX_WAIT_SECONDS="1")
    assert done.returncode == 1
    assert "not within 1 s: a healthy etcd" in done.stderr
    assert "last seen: connection refused" in done.stderr


def test_only_the_first_gluster_server_makes_the_volume(tmp_path: Path) -> None:
    first = FakeGuest(tmp_path / "first", "gluster1")
    for hook in ("gluster/20-join-peers.sh", "gluster/30-create-volume.sh"):
        done = first.hook(hook)
        assert done.returncode == 0, done.stderr
    changes = first.changes()
    assert "gluster --mode=script peer probe gluster2.kube.demo" in changes
    create = next(line for line in changes if "volume create" in line)
    bricks = " ".join(f"gluster{number}.kube.demo:/srv/brick/shared" for number in (1, 2, 3))
    assert f"volume create shared replica 3 {bricks} force" in create
    assert any("volume set shared client.tcp-user-timeout 3 network.ping-timeout 5" in line for line in changes)

    second = FakeGuest(tmp_path / "second", "gluster2")
    (second.state / "all-joined").touch()
    (second.state / "volume").write_text("Status: Started\n")
    for hook in ("gluster/20-join-peers.sh", "gluster/30-create-volume.sh"):
        done = second.hook(hook)
        assert done.returncode == 0, done.stderr
    assert second.changes() == []


def test_a_cluster_s_gluster_volume_limits_directories_at_once(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "gluster1", "kubernetes")
    (guest.state / "all-joined").touch()
    assert guest.hook("gluster/30-create-volume.sh").returncode == 0
    asked = [line.partition("volume quota shared ")[2] for line in guest.changes() if " quota " in line]
    assert asked == ["enable", "soft-timeout 0", "hard-timeout 0"]
    before = len(guest.changes())
    assert guest.hook("gluster/30-create-volume.sh").returncode == 0
    assert len(guest.changes()) == before, "the second time nothing is changed"


def test_a_limit_that_gluster_refuses_is_tried_again(tmp_path: Path) -> None:
    """The next one may well be taken, a moment later."""
    guest = FakeGuest(tmp_path, "gluster1", "kubernetes")
    (guest.state / "all-joined").touch()
    refuse = """if [[ $* == *"soft-timeout 0" && ! -e $STATE/refused ]]; then touch "$STATE/refused"; exit 1; fi"""
    guest.fake("gluster", refuse + FAKES["gluster"])
    assert guest.hook("gluster/30-create-volume.sh").returncode == 0
    assert "features.soft-timeout: 0" in (guest.state / "volume").read_text()


def test_the_first_cluster_configuration_is_put_where_pacemaker_looks(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "lb1")
    assert guest.hook("lb/20-start-cluster.sh").returncode == 0
    live = guest.root / "var/lib/pacemaker/cib/cib.xml"
    assert live.read_bytes() == (guest.root / "etc/rackbox/cib.xml").read_bytes()
    assert live.stat().st_mode & 0o777 == 0o600
    assert not any("--replace" in line for line in guest.changes())


# --- the balancers' stacks --------------------------------------------------------------------------------------------

WATCH = "rackbox-watch-haproxy.service"


def asked_of_systemd(guest: FakeGuest) -> list[str]:
    return [line for line in guest.changes() if line.startswith("systemctl ")]


@pytest.mark.parametrize(
    ("lab", "hook", "expected"),
    [
        ("keepalived", "10-start-haproxy.sh", ["systemctl start haproxy.service", f"systemctl start {WATCH}"]),
        ("keepalived", "20-start-cluster.sh", []),
        ("keepalived", "21-start-keepalived.sh", ["systemctl start keepalived.service"]),
        (
            "default",
            "20-start-cluster.sh",
            [
                "systemctl start corosync.service",
                "systemctl start --no-block corosync-qdevice.service",
                "systemctl start pacemaker.service",
            ],
        ),
        (
            "reference-pacemaker",
            "20-start-cluster.sh",
            ["systemctl start corosync.service", "systemctl start pacemaker.service"],
        ),
        ("default", "21-start-keepalived.sh", []),
        # Nobody watches, and HAProxy is the cluster's to start, on one balancer.
        ("reference-pacemaker", "10-start-haproxy.sh", []),
        ("reference-keepalived", "10-start-haproxy.sh", ["systemctl start haproxy.service"]),
    ],
)
def test_each_stack_starts_its_own(lab: str, hook: str, expected: list[str], tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "lb1", lab)
    done = guest.hook(f"lb/{hook}")
    assert done.returncode == 0, done.stderr
    assert asked_of_systemd(guest) == expected


def test_a_changed_keepalived_keeps_its_state(tmp_path: Path) -> None:
    """A restart would move the floating IP, on both balancers at the same time."""
    guest = FakeGuest(tmp_path, "lb1", "keepalived")
    assert guest.hook("lb/21-start-keepalived.sh").returncode == 0
    for path in ("etc/keepalived/keepalived.conf", "etc/rackbox/vrrp.nft"):
        with (guest.root / path).open("a") as stream:
            stream.write("# changed\n")
    guest.calls()
    assert guest.hook("lb/21-start-keepalived.sh").returncode == 0
    calls = guest.calls()
    assert f"nft --file {guest.root}/etc/rackbox/vrrp.nft" in calls
    assert [call for call in calls if call.startswith("systemctl re")] == ["systemctl reload keepalived.service"]


CLUSTER = ("pacemaker.service", "corosync-qdevice.service", "corosync.service")


@pytest.mark.parametrize(
    ("lab", "running", "stopped"),
    [
        ("keepalived", CLUSTER, CLUSTER),
        ("keepalived", CLUSTER[:1], CLUSTER[:1]),
        ("keepalived", ("keepalived.service",), ()),
        ("reference-keepalived", CLUSTER, CLUSTER),
        ("default", ("keepalived.service",), ("keepalived.service",)),
        ("default", CLUSTER, ()),
    ],
)
def test_a_stack_that_is_not_wanted_any_more_is_stopped(
    lab: str, running: tuple[str, ...], stopped: tuple[str, ...], tmp_path: Path
) -> None:
    """What Corosync carries goes first, and once all is stopped a second run asks for nothing."""
    guest = FakeGuest(tmp_path, "lb1", lab)
    for unit in running:
        (guest.state / f"active-{unit}").touch()
    assert guest.hook("lb/05-stop-other-stack.sh").returncode == 0
    assert asked_of_systemd(guest) == [f"systemctl stop {unit}" for unit in stopped]
    assert guest.hook("lb/05-stop-other-stack.sh").returncode == 0
    assert asked_of_systemd(guest) == []


def test_a_third_vote_that_is_not_wanted_any_more_is_stopped(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "gateway")
    (guest.state / "active-corosync-qnetd.service").touch()
    assert guest.hook("gateway/30-vote-third.sh", RACKBOX_QUORUM_HOST="").returncode == 0
    assert asked_of_systemd(guest) == ["systemctl stop corosync-qnetd.service"]


def test_the_other_stack_is_gone_before_anything_is_started() -> None:
    """Pacemaker stops HAProxy when it goes."""
    hooks_of_lb = sorted(path.name for path in (PROJECT / "provision/lb").glob("[0-9][0-9]-*.sh"))
    assert hooks_of_lb[0] == "05-stop-other-stack.sh"


def test_a_config_that_keepalived_refuses_stops_the_hook(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "lb1", "keepalived")
    guest.fake("keepalived", "echo 'Unknown keyword' >&2; exit 1")
    done = guest.hook("lb/21-start-keepalived.sh")
    assert done.returncode != 0
    assert "Unknown keyword" in done.stderr
    assert asked_of_systemd(guest) == []


def test_a_watch_that_is_not_wanted_any_more_is_stopped(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "lb1", "reference-keepalived")
    (guest.state / f"active-{WATCH}").touch()
    assert guest.hook("lb/10-start-haproxy.sh").returncode == 0
    assert asked_of_systemd(guest) == ["systemctl start haproxy.service", f"systemctl stop {WATCH}"]


@pytest.mark.parametrize("path", [f"etc/systemd/system/{WATCH}", "usr/local/lib/rackbox/lb/watch_haproxy.py"])
def test_a_changed_watch_is_started_anew(path: str, tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "lb1")
    assert guest.hook("lb/10-start-haproxy.sh").returncode == 0
    with (guest.root / path).open("a") as stream:
        stream.write("# changed\n")
    guest.calls()
    assert guest.hook("lb/10-start-haproxy.sh").returncode == 0
    assert asked_of_systemd(guest) == [f"systemctl restart {WATCH}"]


def test_keepalived_states_are_noted_in_their_order(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "lb1", "keepalived")
    (guest.root / "run/rackbox").mkdir(parents=True)
    states = tmp_path / "states"
    states.write_text('INSTANCE "floating_ip" BACKUP 250\nINSTANCE "floating_ip" MASTER 250\n')
    assert guest.script("lb/note-vrrp-state.sh", str(states)).returncode == 0
    assert (guest.root / "run/rackbox/vrrp-state").read_text() == "MASTER\n"

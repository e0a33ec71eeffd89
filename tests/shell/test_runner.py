"""The runner and the status program of provision/lib."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.shell.guest import FAKES, FakeGuest


@pytest.fixture
def guest(tmp_path: Path) -> FakeGuest:
    """A worker whose hooks are this test's."""
    guest = FakeGuest(tmp_path, "worker1")
    guest.unfake("timeout", "stat", "install")
    for path in guest.library.glob("*/[0-9]*.sh"):
        path.unlink()
    return guest


def add_hook(guest: FakeGuest, path: str, body: str) -> None:
    (guest.library / path).write_text(f"#!/bin/bash\nset -eu\n{body}\n")
    (guest.library / path).chmod(0o755)


def progress(guest: FakeGuest) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (guest.root / "run/rackbox/progress.jsonl").read_text().splitlines()]


def test_common_hooks_run_first_each_in_order(guest: FakeGuest) -> None:
    for path in ("worker/10-a.sh", "common/20-c.sh", "common/10-b.sh", "worker/05-z.sh"):
        add_hook(guest, path, f'echo {path} >>"$RACKBOX_ROOT/order"; test "$RACKBOX_ROLE" = worker')
    assert guest.script("run-hooks").returncode == 0
    order = ["common/10-b.sh", "common/20-c.sh", "worker/05-z.sh", "worker/10-a.sh"]
    assert (guest.root / "order").read_text().split() == order
    events = progress(guest)
    assert [event["hook"] for event in events if event["event"] == "ok"] == order
    assert [event["event"] for event in events] == ["start", "ok"] * 4 + ["done"]
    assert abs(events[-1]["t"] - time.time()) < 60
    assert all(event["seconds"] >= 0 for event in events)
    assert (guest.root / "run/rackbox/provisioned").exists()
    assert (guest.root / "var/lib/rackbox/provisioned").exists()


def test_a_failing_hook_stops_the_run_and_shows_its_last_lines(guest: FakeGuest) -> None:
    add_hook(guest, "common/10-ok.sh", "echo fine")
    add_hook(
        guest, "worker/20-bad.sh", 'for i in {1..40}; do echo "line $i"; done; echo "it is \\"broken\\"" >&2; exit 3'
    )
    add_hook(guest, "worker/30-never.sh", 'touch "$RACKBOX_ROOT/never"')
    assert guest.script("run-hooks").returncode == 1
    events = progress(guest)
    assert [event["event"] for event in events] == ["start", "ok", "start", "fail", "failed"]
    assert events[-1]["hook"] == "worker/20-bad.sh"
    assert events[-1]["tail"][-1] == 'it is "broken"'
    assert len(events[-1]["tail"]) == 15
    assert not (guest.root / "never").exists()
    assert not (guest.root / "run/rackbox/provisioned").exists()
    assert (guest.root / "var/log/rackbox/worker-20-bad.log").read_text().startswith("line 1\n")


def test_a_failure_is_forgotten_by_the_next_run(guest: FakeGuest) -> None:
    add_hook(guest, "worker/10-x.sh", 'test -e "$RACKBOX_ROOT/now"')
    assert guest.script("run-hooks").returncode == 1
    (guest.root / "now").touch()
    assert guest.script("run-hooks").returncode == 0
    assert [event["event"] for event in progress(guest)] == ["start", "ok", "done"]


def test_a_hook_that_does_not_end_is_killed_and_said(guest: FakeGuest) -> None:
    add_hook(guest, "worker/10-x.sh", "echo begun; sleep 60")
    started = time.monotonic()
    assert guest.script("run-hooks", RACKBOX_HOOK_SECONDS="1").returncode == 1
    assert time.monotonic() - started < 10
    assert progress(guest)[-1]["tail"] == ["begun", "killed: no end after 1 s"]


def test_two_runs_do_not_overlap(guest: FakeGuest) -> None:
    body = 'mkdir "$RACKBOX_ROOT/alone"; sleep 0.3; rmdir "$RACKBOX_ROOT/alone"'
    add_hook(guest, "worker/10-x.sh", body)
    argv = [str(guest.library / "run-hooks")]
    runs = [subprocess.Popen(argv, env=guest.environment, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [run.wait(timeout=20) for run in runs] == [0, 0, 0]


def test_what_a_hook_leaves_running_does_not_hold_the_lock(guest: FakeGuest) -> None:
    add_hook(guest, "worker/10-x.sh", "sleep 5 >/dev/null 2>&1 & disown")
    assert guest.script("run-hooks").returncode == 0
    started = time.monotonic()
    assert guest.script("run-hooks").returncode == 0
    assert time.monotonic() - started < 4


# --- status -----------------------------------------------------------------------------------------------------------

CRM = """<pacemaker-result><summary><current_dc present="true" with_quorum="true"/></summary>
<nodes><node name="lb1" id="1" online="true" standby="false"/><node name="lb2" id="2" online="false" standby="false"/>
</nodes></pacemaker-result>"""
STATS = """# pxname,svname,qcur,a,b,c,d,e,f,g,h,i,j,k,l,m,n,status,weight
etcd,FRONTEND,,,,,,,,,,,,,,,,OPEN,
etcd,master1,,,,,,,,,,,,,,,,UP,1
etcd,master2,,,,,,,,,,,,,,,,DOWN,1
etcd,master2-unchecked,,,,,,,,,,,,,,,,no check,1
etcd,BACKEND,,,,,,,,,,,,,,,,UP,1
"""
ETCD = """{"header":{"member_id":"7"},"version":"3.5.16","leader":"7","raftTerm":"2"}
{"members":[{"ID":"7"},{"ID":"8"},{"ID":"9"},{"ID":"10","isLearner":true}]}"""


def status(tmp_path: Path, node: str, lab: str = "default", **fakes: str) -> dict[str, Any]:
    guest = FakeGuest(tmp_path, node, lab)
    (guest.root / "run/rackbox").mkdir(parents=True)
    (guest.root / "run/rackbox/vrrp-state").write_text("MASTER\n")
    guest.unfake("timeout")
    guest.fake("systemctl", "shift; for unit; do echo active; done")
    for name, body in fakes.items():
        guest.fake(name, body)
    done = guest.script("status")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    result = json.loads(done.stdout)
    assert set(result) == {"provisioned", "failed_hook", "units", "addresses", "dhcp", "role"}
    assert isinstance(result, dict)
    return result


def printing(text: str) -> str:
    return f"cat <<'TEXT'\n{text}\nTEXT"


QUORUM = "Membership information\n     1     1    A,V,NMW lb1 (local)\n     0     1            Qdevice"


def test_status_of_a_balancer(tmp_path: Path) -> None:
    fakes = {"crm_mon": printing(CRM), "socat": printing(STATS), "corosync-quorumtool": printing(QUORUM)}
    seen = status(tmp_path, "lb1", **fakes)
    assert seen["role"] == {
        "holds_vip": True,
        "quorate": True,
        "online": ["lb1"],
        "third_vote": True,
        "haproxy_backends": {"etcd/master1": "UP", "etcd/master2": "DOWN"},
    }
    assert set(seen["units"]) == {
        "haproxy.service",
        "corosync.service",
        "corosync-qdevice.service",
        "pacemaker.service",
        "rackbox-watch-haproxy.service",
    }
    assert set(seen["units"].values()) == {"active"}
    assert seen["addresses"] == ["192.0.2.1/24"]


def test_status_of_a_balancer_whose_cluster_is_down(tmp_path: Path) -> None:
    fakes = {"crm_mon": "exit 102", "socat": "exit 1", "ip": "", "corosync-quorumtool": "exit 1"}
    role = {"holds_vip": False, "quorate": False, "online": [], "third_vote": False, "haproxy_backends": {}}
    assert status(tmp_path, "lb1", **fakes)["role"] == role


def test_status_of_a_balancer_with_keepalived(tmp_path: Path) -> None:
    seen = status(tmp_path, "lb1", "keepalived", socat=printing(STATS))
    assert seen["role"] == {
        "holds_vip": True,
        "vrrp": "MASTER",
        "haproxy_backends": {"etcd/master1": "UP", "etcd/master2": "DOWN"},
    }
    assert set(seen["units"]) == {"haproxy.service", "keepalived.service", "rackbox-watch-haproxy.service"}


@pytest.mark.parametrize("holds", [True, False])
def test_status_where_haproxy_goes_with_the_floating_ip(holds: bool, tmp_path: Path) -> None:
    """The unit is asked for on the holder only; the guide's lab has no third vote either."""
    nic = FAKES["ip"] if holds else ""
    seen = status(tmp_path, "lb2", "reference-pacemaker", crm_mon=printing(CRM), socat="exit 1", ip=nic)
    assert set(seen["units"]) == {"corosync.service", "pacemaker.service"} | ({"haproxy.service"} if holds else set())
    assert "third_vote" not in seen["role"]


def test_status_of_a_master(tmp_path: Path) -> None:
    assert status(tmp_path, "master1", curl=printing(ETCD))["role"] == {
        "etcd_healthy": True,
        "leader": True,
        "members": 3,
    }


@pytest.mark.parametrize("curl", ["exit 7", "printf ''", """echo '{"header":{"member_id":"7"},"leader":"0"}'"""])
def test_status_of_a_master_without_a_leader(curl: str, tmp_path: Path) -> None:
    assert status(tmp_path, "master1", curl=curl)["role"] == {"etcd_healthy": False, "leader": False, "members": 0}


def test_status_of_a_gluster_server(tmp_path: Path) -> None:
    # As ss prints it: two connections to one peer, glusterd's own ones to itself.
    connections = "\n".join(
        f"0 0 192.168.3.11:{port} {peer}:24007"
        for port, peer in ((49150, "192.168.3.13"), (49151, "192.168.3.13"), (49149, "192.168.3.11"))
    )
    connections += "\n0 0 127.0.0.1:49148 127.0.0.1:24007"
    seen = status(tmp_path, "gluster1", ss=printing(connections), find=r"printf 'a\nb\n'")
    assert seen["role"] == {"peers_connected": 1, "bricks_online": 1, "heal_pending": 2}


def test_status_says_how_full_a_brick_s_pool_is(tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "gluster1")
    pool = guest.root / "dev/mapper/rackbox_brick-pool-tpool"
    pool.parent.mkdir(parents=True)
    pool.touch()
    line = "0 8372224 thin-pool 1 141/4096 8176/16352 - rw discard_passdown queue_if_no_space - 1024"
    guest.fake("dmsetup", printing(line))
    role = json.loads(guest.script("status").stdout)["role"]
    assert (role["pool_data_percent"], role["pool_metadata_percent"]) == (50.0, 3.4)


@pytest.mark.parametrize(("virt", "factor"), [("qemu", "6"), ("kvm", "1"), ("lxc", "1"), ("none", "1")])
def test_an_emulated_machine_is_given_more_time(virt: str, factor: str, tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "master1")
    for path in guest.library.glob("*/[0-9]*.sh"):
        path.unlink()
    guest.fake("systemd-detect-virt", f"echo {virt}")
    guest.fake("curl", """printf '%s\\n' "$*" >>"$STATE/asked"; exit 7""")
    assert guest.script("run-hooks").returncode == 0
    guest.script("status")
    assert (guest.state / "asked").read_text().count(f"--max-time {factor} ") == 2


def test_status_of_the_gateway_and_of_a_worker(tmp_path: Path) -> None:
    assert status(tmp_path / "a", "gateway")["role"] == {"leases": 0}
    assert status(tmp_path / "b", "worker1")["role"]["gluster_mounted"] is False


@pytest.mark.parametrize(("machine", "answer"), [("worker1", "OK"), ("worker1", ""), ("master1", "OK")])
def test_status_says_whether_docker_answers_where_it_runs_the_pods(machine: str, answer: str, tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, machine, "kubernetes-docker")
    guest.fake("curl", f'[[ $* == *docker.sock* ]] && echo "{answer}" || echo "{{}}"')
    seen = json.loads(guest.script("status").stdout)
    assert seen["role"]["docker"] is (answer == "OK")
    assert {"containerd.service", "docker.service", "cri-docker.service", "kubelet.service"} <= {*seen["units"]}
    assert ("containerd" in seen["role"]) is (machine == "worker1")


def test_status_names_the_hook_that_failed(guest: FakeGuest) -> None:
    add_hook(guest, "worker/10-x.sh", "exit 1")
    guest.script("run-hooks")
    guest.fake("systemctl", "shift; for unit; do echo inactive; done; exit 3")
    seen = json.loads(guest.script("status").stdout)
    assert seen["failed_hook"] == "worker/10-x.sh"
    assert seen["provisioned"] is False
    assert seen["units"] == {"containerd.service": "inactive"}

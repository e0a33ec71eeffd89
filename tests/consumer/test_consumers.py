"""Every rendered file, given to the program that will read it, in the version that the box holds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rackbox.early import early_files
from rackbox.paths import PROJECT
from tests.consumer.conftest import Inside, check
from tests.rendering import shipped

MACHINES = [f"{lab}/{node.name}" for lab in ("small", "default") for node in shipped(lab).nodes]
GATEWAYS = ["small/gateway", "default/gateway", "kubernetes/gateway"]


@pytest.mark.parametrize("machine", MACHINES)
def test_cloud_init_takes_user_data_and_network(machine: str, inside: Inside) -> None:
    script = """
    cloud-init schema --config-file /seed/user-data
    cloud-init schema --schema-type network-config --config-file /seed/network-config
    cd /seed && cloud-init devel net-convert --network-data network-config --kind yaml --output-kind networkd \
      --distro debian --directory out >&2
    cat out/etc/systemd/network/*.network
    """
    out = check(inside(machine, script))
    assert "Valid schema" in out
    lab, name = machine.split("/")
    for nic in shipped(lab).node(name).nics:
        assert f"MACAddress={nic.mac}\nName={nic.network}\n" in out
        assert nic.dhcp or f"Address={nic.address}" in out


@pytest.mark.parametrize("machine", ["small/gateway", "default/lb1", "default/worker1"])
def test_the_network_before_cloud_init_is_cloud_init_s(machine: str, inside: Inside) -> None:
    """What a virtual machine's NICs are given before cloud-init has been started (rackbox/early.py) is what cloud-init
    gives them."""
    script = """
    cd /seed && cloud-init devel net-convert --network-data network-config --kind yaml --output-kind networkd \
      --distro debian --directory out >/dev/null 2>&1
    for file in user-data network-config out/etc/systemd/network/*.network; do echo "=== ${file##*/}"; cat "$file"; done
    """
    files = dict(part.split("\n", 1) for part in check(inside(machine, script)).split("=== ")[1:])
    ours = early_files(files.pop("user-data"), files.pop("network-config"))
    names = [name.removeprefix("10-cloud-init-").removesuffix(".network") for name in files]
    assert {f"05-rackbox-{name}{end}" for name in names for end in (".link", ".network")} < set(ours)
    for name, theirs in zip(names, files.values(), strict=True):
        assert settings(ours[f"05-rackbox-{name}.network"]) == settings(theirs), name


def test_the_box_s_own_units_wait_for_cloud_init_no_longer(inside: Inside) -> None:
    """What a virtual machine does with its seed in the initramfs, done to the units of this box's cloud-init and
    systemd, which looks at the result."""
    files = PROJECT / "packer/rootfs/kernel-files"
    bottom = (files / "etc/initramfs-tools/scripts/local-bottom/rackbox").read_text()
    script = f"""
    mkdir -p /run/rackbox/early /usr/lib/rackbox
    touch /etc/fstab /usr/lib/rackbox/early
    chmod 755 /usr/lib/rackbox/early
    rootmnt=/ sh -s <<'SCRIPT'\n{bottom}\nSCRIPT
    cd /run/systemd/system
    ls *.service
    echo ---
    grep --extended-regexp '^Before=.*(network-pre|sysinit|sshd[.]|user-sessions)' cloud-init*.service || true
    echo ---
    grep --extended-regexp '^After=.*(network.target|udevd)' ssh.service systemd-networkd.service || true
    grep --extended-regexp '^(Default|ExecStartPre|CPU)' ssh.service
    echo ---
    systemd-analyze verify --man=no ssh.service systemd-networkd.service cloud-init.target 2>&1 |
      grep -iE 'cycle|rackbox' || true
    """
    units, waits, others_wait, said = check(inside("small/lb1", script)).split("---\n")
    stages = {"cloud-init-local.service", "cloud-init-network.service"}
    assert {*stages, "ssh.service", "systemd-networkd.service"} <= set(units.split())
    assert (waits, said) == ("", "")
    assert others_wait.split() == [
        "DefaultDependencies=no",
        "ExecStartPre=-/usr/lib/rackbox/early",
        "CPUSchedulingPolicy=rr",
        "CPUSchedulingResetOnFork=yes",
    ]


def settings(text: str) -> set[tuple[str, str]]:
    """Each key with its value, whatever section or spelling; what is as without it is left out. Which NIC is meant
    stands in the .link file, here."""
    pairs = {tuple(line.split("=", 1)) for line in text.splitlines() if "=" in line}
    words = {"true": "yes", "false": "no"}
    said = {(key, words.get(value.lower(), value)) for key, value in pairs if key != "MACAddress"}
    return said - {("RequiredForOnline", "yes")}


@pytest.mark.parametrize("machine", GATEWAYS)
def test_dnsmasq_takes_its_configuration(machine: str, inside: Inside) -> None:
    done = inside(
        machine, "/usr/share/dnsmasq/systemd-helper checkconfig; dnsmasq --test -C /etc/dnsmasq.d/rackbox.conf"
    )
    check(done)
    assert "syntax check OK" in done.stderr


def test_dnsmasq_answers_forward_and_backward(inside: Inside) -> None:
    """All names of the lab, and for each address exactly the name that is its own."""
    topology = shipped("default")
    script = """
    mkdir -p /run/dnsmasq
    dnsmasq -C /etc/dnsmasq.d/rackbox.conf --pid-file=/run/dnsmasq/pid --user=root
    ask() { dig +short "$1" "$2" @127.0.0.1 | sort | paste -sd,; }
    while read -r kind name; do echo "$name $(ask "$kind" "$name")"; done </dev/stdin
    kill "$(</run/dnsmasq/pid)"
    """
    forward: dict[str, set[str]] = {}
    for record in topology.dns:
        forward.setdefault(record.name, set()).add(str(record.address))
    backward = {str(record.address): record.name for record in topology.dns if record.ptr}
    questions = [f"-tA {name}" for name in forward] + [f"-x {address}" for address in backward]
    listing = "\n".join([*questions, "-tA nowhere.kube.demo", ""])
    out = check(inside("default/gateway", script.replace("</dev/stdin", f"<<'QUESTIONS'\n{listing}QUESTIONS\n")))
    answers = dict(line.split(" ", 1) for line in out.splitlines())
    assert {name: set(answers[name].split(",")) for name in forward} == forward
    assert {address: answers[address].rstrip(".") for address in backward} == backward
    assert answers["nowhere.kube.demo"] == ""


def test_dnsmasq_has_one_address_for_all_names_of_ingresses(inside: Inside) -> None:
    """And no other kind of answer: no AAAA, and nothing that is asked upstream."""
    names = ("demo.apps.kube.demo", "a.b.apps.kube.demo", "apps.kube.demo", "api.kube.demo", "other.kube.demo")
    script = f"""
    mkdir -p /run/dnsmasq
    dnsmasq -C /etc/dnsmasq.d/rackbox.conf --pid-file=/run/dnsmasq/pid --user=root
    for name in {" ".join(names)}; do echo "$name $(dig +short -tA "$name" @127.0.0.1)"; done
    for name in {" ".join(names[:3])}; do
      dig -tAAAA "$name" @127.0.0.1 | sed -n 's/.*status: \\([A-Z]*\\),.*/\\1/p'
      dig +short -tAAAA "$name" @127.0.0.1
    done
    kill "$(</run/dnsmasq/pid)"
    """
    vip = "192.168.4.20"
    lines = check(inside("kubernetes/gateway", script)).splitlines()
    assert [line.strip() for line in lines[:5]] == [*(f"{name} {vip}" for name in names[:4]), names[4]]
    assert lines[5:] == ["NOERROR"] * 3


@pytest.mark.parametrize("machine", GATEWAYS)
def test_nft_loads_the_firewall_and_again_without_doubling(machine: str, inside: Inside) -> None:
    script = """
    nft --check --file /etc/nftables.conf
    nft --file /etc/nftables.conf; nft list ruleset >/run/once
    nft --file /etc/nftables.conf; nft list ruleset >/run/twice
    cmp /run/once /run/twice; cat /run/once
    """
    out = check(inside(machine, script))
    assert out.count("chain forward {") == 1
    assert out.count("policy drop;") == 2


@pytest.mark.parametrize("machine", ["small/lb1", "default/lb2", "kubernetes/lb1"])
def test_haproxy_takes_its_configuration(machine: str, inside: Inside) -> None:
    done = inside(machine, "haproxy -c -V -f /etc/haproxy/haproxy.cfg; stat --format=%a /etc/haproxy/haproxy.cfg")
    assert check(done).split()[-1] == "600"
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize(("machine", "served"), [("default/lb1", True), ("reference-pacemaker/lb1", False)])
def test_haproxy_tries_all_where_checks_find_nobody_well(machine: str, served: bool, inside: Inside) -> None:
    """Three backends that answer clients and no check: HAProxy asks for TLS of the lab's CA and they have none, or at a
    port where nobody is. One of them does not answer clients either."""
    script = """
    sed 's/bind \\*:2379/bind 127.0.0.1:12379/; s/ check$/ check port 9/' /etc/haproxy/haproxy.cfg >/run/haproxy.cfg
    mkdir -p /run/haproxy
    ip link set lo up
    for n in 1 2 3; do ip address add 192.168.1.1$n/32 dev lo; done
    for n in 1 2; do socat TCP-LISTEN:2379,bind=192.168.1.1$n,fork,reuseaddr SYSTEM:"echo master$n" & done
    haproxy -f /run/haproxy.cfg >/run/haproxy.log 2>&1 &
    ask() { socat - UNIX-CONNECT:/run/haproxy/admin.sock <<<'show stat' 2>/dev/null; }
    states() { ask | grep '^etcd,master[123],' | cut -d, -f18 | sort -u | paste -sd,; }
    for turn in {1..150}; do [[ $(states) != DOWN ]] || break; sleep 0.1; done
    echo "checks say $(states)"
    for turn in {1..6}; do timeout 5 socat -u TCP:127.0.0.1:12379 - 2>/dev/null || true; done | sort -u
    kill $(jobs -p)
    """
    lines = check(inside(machine, script)).splitlines()
    assert lines[0] == "checks say DOWN"
    assert lines[1:] == (["master1", "master2"] if served else [])


@pytest.mark.parametrize(
    ("change", "etcd", "state"),
    [
        pytest.param("", True, "UP", id="as it is"),
        pytest.param("s/^listen api$/&\\n  timeout check 1s/", True, "DOWN", id="checked as others are"),
        pytest.param("", False, "DOWN", id="without its etcd"),
    ],
)
def test_haproxy_leaves_a_slow_api_server_alone(change: str, etcd: bool, state: str, inside: Inside) -> None:
    """It answers well, and needs more than `connect_timeout` for each handshake. With checks as other services have
    them it is taken out; and so it is where nobody answers for its etcd."""
    script = f"""
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=slow -days 2 \\
      -keyout /run/key.pem -out /run/cert.pem 2>/dev/null
    sed 's/verify required ca-file .*$/verify none/; s/bind \\*:/bind 127.0.0.1:1/' /etc/haproxy/haproxy.cfg |
      sed '{change}' >/run/haproxy.cfg
    mkdir -p /run/haproxy
    ip link set lo up
    ip address add 192.168.1.11/32 dev lo
    python3 -c '{SLOW_SERVER}' {"etcd" if etcd else ""} &
    until ss --listening --tcp --numeric | grep -q 192.168.1.11:6443; do sleep 0.1; done
    haproxy -f /run/haproxy.cfg >/run/haproxy.log 2>&1 &
    sleep 8
    socat - UNIX-CONNECT:/run/haproxy/admin.sock <<<'show stat' | grep '^api,master1,' | cut -d, -f18
    kill $(jobs -p)
    """
    assert check(inside("kubernetes/lb1", script)).splitlines() == [state]


SLOW_SERVER = """
import http.server, ssl, sys, threading, time
class Slow(http.server.ThreadingHTTPServer):
    def finish_request(self, request, address):
        time.sleep(0.6)
        request = context.wrap_socket(request, server_side=True)
        super().finish_request(request, address)
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/run/cert.pem", "/run/key.pem")
if sys.argv[1:]:
    etcd = http.server.ThreadingHTTPServer(("192.168.1.11", 2381), Ready)
    threading.Thread(target=etcd.serve_forever, daemon=True).start()
Slow(("192.168.1.11", 6443), Ready).serve_forever()
"""


def test_haproxy_ends_connections_to_a_machine_that_is_gone(inside: Inside) -> None:
    """No check ends them where checks found nobody well before: the kernel does, after 5 s without a word."""
    script = """
    sed 's/bind \\*:2379/bind 127.0.0.1:12379/' /etc/haproxy/haproxy.cfg >/run/haproxy.cfg
    mkdir -p /run/haproxy
    ip link set lo up
    ip netns add master1
    ip link add dmz type veth peer name mast netns master1
    ip address add 192.168.1.1/24 dev dmz
    ip -n master1 address add 192.168.1.11/24 dev mast
    ip link set dmz up
    ip -n master1 link set dev mast up
    ip netns exec master1 socat TCP-LISTEN:2379,bind=192.168.1.11,fork,reuseaddr SYSTEM:"echo here; sleep 60" &
    haproxy -f /run/haproxy.cfg >/run/haproxy.log 2>&1 &
    ask() { socat - UNIX-CONNECT:/run/haproxy/admin.sock <<<'show stat' 2>/dev/null; }
    state() { ask | grep "^etcd,$1," | cut -d, -f"$2"; }
    for turn in {1..150}; do [[ $(state master1 18) != DOWN ]] || break; sleep 0.1; done
    for turn in {1..20}; do
      timeout 40 socat -u TCP:127.0.0.1:12379 - >/run/said 2>/dev/null &
      client=$!
      sleep 0.5
      ! grep -q here /run/said || break
      kill $client
    done
    cat /run/said
    [[ $(state master1-unchecked 5) == 1 ]]
    ip -n master1 link set dev mast down
    begin=$SECONDS
    wait $client || true
    echo $((SECONDS - begin))
    kill $(jobs -p)
    """
    said, seconds = check(inside("default/lb1", script)).splitlines()
    assert said == "here"
    assert 2 <= int(seconds) <= 8


@pytest.mark.parametrize(
    ("machine", "units"),
    [
        ("default/gateway", "dnsmasq.service nftables.service"),
        ("default/lb1", "haproxy.service rackbox-watch-haproxy.service"),
        ("keepalived/lb1", "haproxy.service keepalived.service rackbox-watch-haproxy.service"),
        ("reference-pacemaker/lb1", "haproxy.service"),
        ("default/master1", "etcd.service"),
        ("default/worker1", "mnt-shared.mount"),
    ],
)
def test_systemd_takes_the_units(machine: str, units: str, inside: Inside) -> None:
    done = inside(machine, f"SYSTEMD_LOG_TARGET=console systemd-analyze verify --man=no {units}")
    check(done)
    ours = [line for line in done.stderr.splitlines() if "rackbox" in line or "mnt-shared" in line]
    assert ours == []


def test_unit_names_are_those_of_systemd_escape(inside: Inside) -> None:
    assert check(
        inside("default/worker1", "systemd-escape --path --suffix=mount /mnt/shared; ls /etc/systemd/system/*.mount")
    ).split() == [
        "mnt-shared.mount",
        "/etc/systemd/system/mnt-shared.mount",
    ]


@pytest.mark.parametrize(("machine", "forward"), [("default/gateway", "1"), ("default/worker1", "0")])
def test_sysctl_takes_its_switches(machine: str, forward: str, inside: Inside) -> None:
    script = """
    sysctl --quiet --load=/etc/sysctl.d/60-rackbox.conf
    for file in /etc/sysctl.d/61-rackbox*; do [ ! -e "$file" ] || sysctl --quiet --load="$file"; done
    sysctl --values net.ipv4.ip_forward net.ipv4.conf.all.rp_filter
    """
    assert check(inside(machine, script)).split() == [forward, "1"]


def test_etcd_starts_and_trusts_the_labs_certificates_only(inside: Inside) -> None:
    """One master, with its environment file and certificates: healthy with a certificate, closed without."""
    address = shipped("small").node("master1").address
    script = f"""
    ip address add {address}/32 dev lo
    set -a; . /etc/default/etcd; set +a
    install --directory --owner=etcd --group=etcd --mode=0700 /var/lib/etcd
    setpriv --reuid=etcd --regid=etcd --clear-groups etcd 2>/run/log &
    tls='--cacert /etc/etcd/pki/ca.pem --cert /etc/etcd/pki/node.pem --key /etc/etcd/pki/node.key'
    for turn in {{1..100}}; do
      if curl --silent $tls https://127.0.0.1:2379/health?serializable=true; then break; fi
      sleep 0.1
    done
    echo
    curl --silent $tls https://{address}:2379/health
    echo
    if curl --silent --cacert /etc/etcd/pki/ca.pem https://127.0.0.1:2379/health; then echo open; else echo closed; fi
    if curl --silent $tls https://localhost:2380/version; then echo; else echo "no peer"; fi
    kill %1
    """
    lines = check(inside("small/master1", script)).split()
    assert lines[0] == '{"health":"true","reason":""}'
    assert lines[1] == '{"health":"true","reason":""}'
    assert lines[2] == "closed"


def test_openssh_takes_the_ssh_config(rendered_labs: Path) -> None:
    directory = rendered_labs / "default" / "rendered"
    done = subprocess.run(
        ["ssh", "-G", "-F", str(directory / "ssh_config"), "lb1"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    lines = done.stdout.splitlines()
    assert f"hostname {shipped('default').node('lb1').management.address.ip}" in lines
    assert "user vagrant" in lines
    assert "stricthostkeychecking true" in lines
    found = subprocess.run(
        ["ssh-keygen", "-F", "lb1", "-f", str(directory / "known_hosts")], capture_output=True, check=False, timeout=20
    )
    assert found.returncode == 0


@pytest.mark.timeout(120)
def test_vagrant_takes_the_vagrantfile(rendered_labs: Path, tmp_path: Path) -> None:
    assert shutil.which("vagrant"), "vagrant is not installed: run `./lab test`"
    directory = tmp_path / "lab"
    directory.mkdir()
    shutil.copy(rendered_labs / "default" / "rendered" / "Vagrantfile", directory)
    done = subprocess.run(
        ["vagrant", "validate"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "VAGRANT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Vagrantfile validated successfully." in check(done)

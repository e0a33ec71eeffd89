"""The balancers' files, given to what keeps the floating IP on one of them: Corosync, Pacemaker and its agent,
keepalived, and the firewall between them.
"""

from __future__ import annotations

import pytest

from tests.consumer.conftest import Inside, check
from tests.rendering import shipped

BALANCERS = ["small/lb1", "default/lb2"]
VRRP_BALANCERS = ["keepalived/lb1", "keepalived/lb2", "reference-keepalived/lb1", "traps/weight-below-gap/lb2"]


@pytest.mark.parametrize("machine", BALANCERS)
def test_corosync_takes_its_configuration(machine: str, inside: Inside) -> None:
    lab, name = machine.split("/")
    address = shipped(lab).node(name).address
    done = inside(
        machine, f"ip address add {address}/24 dev lo; corosync -t; stat --format='%a %s' /etc/corosync/authkey"
    )
    assert check(done).strip() == "400 256"


@pytest.mark.parametrize("machine", BALANCERS)
def test_pacemaker_takes_its_configuration(machine: str, inside: Inside) -> None:
    done = inside(machine, "crm_verify --verbose --xml-file /etc/rackbox/cib.xml")
    check(done)
    assert "error" not in done.stderr.lower()


# keepalived looks for the interface, and for its files' directories, before it says anything of the configuration.
KEEPALIVED_PLACE = """
ip link add {network} type bridge
ip address add {address}/24 dev {network}
ip link set {network} up
mkdir -p /run/rackbox
"""


@pytest.mark.parametrize("machine", VRRP_BALANCERS)
def test_keepalived_takes_its_configuration(machine: str, inside: Inside) -> None:
    lab, name = machine.rsplit("/", 1)
    node, balancer = shipped(lab).node(name), shipped(lab).load_balancer
    assert balancer is not None
    place = KEEPALIVED_PLACE.format(network=balancer.floating_ip.network, address=node.address)
    done = inside(
        machine, f"{place}\nkeepalived --config-test; sed -n '/^!/d; /^ *#/d; p' /etc/keepalived/keepalived.conf"
    )
    out = check(done)
    assert done.stderr == ""
    assert f"advert_int {balancer.keepalived.advert_ms / 1000}\n" in out
    assert ("  nopreempt\n" in out) is not balancer.keepalived.preempt


def test_keepalived_would_refuse_another(inside: Inside) -> None:
    """That a check says nothing proves something only if it can say something."""
    place = KEEPALIVED_PLACE.format(network="dmz", address="192.168.4.21")
    script = f"{place}\nsed -i 's/down_timer_adverts 5/down_timer_adverts 500/' /etc/keepalived/keepalived.conf"
    done = inside("keepalived/lb1", f"{script}\nkeepalived --config-test")
    assert done.returncode != 0
    assert "down_timer_adverts" in done.stderr


@pytest.mark.parametrize("machine", VRRP_BALANCERS)
def test_nft_lets_vrrp_in_from_the_other_balancer_only(machine: str, inside: Inside) -> None:
    script = """
    nft --file /etc/rackbox/vrrp.nft; nft list ruleset >/run/once
    nft --file /etc/rackbox/vrrp.nft; nft list ruleset >/run/twice
    cmp /run/once /run/twice; cat /run/once
    """
    out = check(inside(machine, script))
    lab, name = machine.rsplit("/", 1)
    other = next(node for node in shipped(lab).by_role("lb") if node.name != name)
    accepted = [line.strip() for line in out.splitlines() if line.strip().endswith(" accept")]
    assert accepted == [f'iifname "dmz" ip saddr {other.address} ip ttl 255 accept']


def simulate(steps: list[str]) -> str:
    """Play ``steps`` one after the other: crm_simulate's options, with a command of Pacemaker's and a semicolon before
    them that changes the configuration first. What is done, and where everything is then, is printed for each."""
    lines = ["cp /etc/rackbox/cib.xml /run/0.xml"]
    for number, step in enumerate(["--quorum true --node-up lb1 --node-up lb2", *steps]):
        command, _, options = step.rpartition(";")
        lines.append(f"echo '--- {step}'")
        if command:
            lines.append(f"CIB_file=/run/{number}.xml {command}")
        lines.append(f"crm_simulate -x /run/{number}.xml {options} --simulate --save-output /run/{number + 1}.xml 2>&1")
    return "\n".join(lines)


MOVE = "crm_resource --resource floating-ip --move --node lb2;"
STANDBY = "crm_standby --node lb1 --update on;"


@pytest.mark.parametrize("step", [MOVE, STANDBY, "--op-inject haproxy_monitor_500@lb1=1"])
def test_pacemaker_hands_the_address_over_from_one_to_the_other(step: str, inside: Inside) -> None:
    out = check(inside("default/lb1", simulate([step])))
    start, moved = out.split("--- ")[1:]
    assert "floating-ip\t(ocf:rackbox:floating-ip):\t Started lb1" in start
    assert "Started: [ lb1 lb2 ]" in start
    assert "Migrate    floating-ip" in moved
    actions = [f"floating-ip     {action}" for action in ("migrate_to on lb1", "migrate_from on lb2", "stop on lb1")]
    if step != MOVE:
        actions.append("haproxy         stop on lb1")  # it serves as long as the address is there
    places = [moved.index(action) for action in actions]
    assert places == sorted(places)
    assert "floating-ip\t(ocf:rackbox:floating-ip):\t Started lb2" in moved.split("Revised Cluster Status")[1]


@pytest.mark.parametrize("failure", ["migrate_to_0@lb1", "migrate_from_0@lb2"])
def test_pacemaker_stops_both_where_a_handover_has_failed(failure: str, inside: Inside) -> None:
    """Nobody knows then who has the address; and a listener that waits still must not delete it later."""
    out = check(inside("default/lb1", simulate([f"{MOVE} --op-fail floating-ip_{failure}=1", ""])))
    recovery = out.split("--- ")[3]
    started = recovery.index("floating-ip     start on lb2")
    assert recovery.index("floating-ip     stop on lb1") < started
    assert recovery.index("floating-ip     stop on lb2") < started


# Two balancers, each a namespace with an end of one wire. The agents are the real ones and talk by real ARP. ``on``
# prints an action's exit code, and who has the address then.
HANDOVER = """
export OCF_RESKEY_ip=192.168.4.20 OCF_RESKEY_cidr_netmask=24 OCF_RESKEY_nic=dmz
for name in lb1 lb2; do
  ip netns add $name
  mkdir -p /$name/run/resource-agents /$name/usr/local/lib
  ln -s /usr/local/lib/rackbox /$name/usr/local/lib/rackbox
done
ip link add dmz netns lb1 type veth peer name dmz netns lb2
ip -n lb1 address add 192.168.4.21/24 dev dmz
ip -n lb2 address add 192.168.4.22/24 dev dmz
for name in lb1 lb2; do ip -n $name link set dmz up; done
within() { nsenter --net=/run/netns/$1 "${@:2}"; }
on() {
  local code=0 name holders=
  RACKBOX_ROOT=/$1 within $1 /usr/lib/ocf/resource.d/rackbox/floating-ip $2 || code=$?
  for name in lb1 lb2; do
    if [ -n "$(ip -n $name -4 address show to 192.168.4.20/32)" ]; then holders+=" $name"; fi
  done
  echo "$1 $2 $code:$holders"
}
"""


def test_balancers_hand_the_address_over_and_back(inside: Inside) -> None:
    script = f"""{HANDOVER}
    on lb1 start
    for round in 1 2 3; do
      on lb1 migrate_to; on lb2 migrate_from; on lb1 stop
      on lb2 migrate_to; on lb1 migrate_from; on lb2 stop
    done
    """
    one = ["lb1 migrate_to 0: lb1", "lb2 migrate_from 0: lb2", "lb1 stop 0: lb2"]
    two = ["lb2 migrate_to 0: lb2", "lb1 migrate_from 0: lb1", "lb2 stop 0: lb1"]
    assert check(inside("default/lb1", script)).splitlines() == ["lb1 start 0: lb1", *(3 * [*one, *two])]


def test_a_balancer_takes_nothing_that_it_is_not_given(inside: Inside) -> None:
    """Nobody waits for it, the one that waited has started again, or nobody has the address."""
    script = f"""{HANDOVER}
    on lb1 start
    on lb2 migrate_from
    on lb1 migrate_to; on lb1 start; on lb2 migrate_from
    on lb1 migrate_to; on lb1 stop; on lb2 migrate_from
    """
    done = inside("default/lb1", script)
    assert check(done).splitlines() == [
        "lb1 start 0: lb1",
        "lb2 migrate_from 1: lb1",
        "lb1 migrate_to 0: lb1",
        "lb1 start 0: lb1",
        "lb2 migrate_from 1: lb1",
        "lb1 migrate_to 0: lb1",
        "lb1 stop 0:",
        "lb2 migrate_from 1:",
    ]
    assert done.stderr.count("did not let go of the address") == 2
    assert done.stderr.count("nobody has the address") == 1


def test_a_balancer_that_waits_gives_the_address_to_no_passer_by(inside: Inside) -> None:
    """Neither an announcement to all nor anybody's probe is a claim."""
    script = f"""{HANDOVER}
    on lb1 start
    on lb1 migrate_to
    within lb2 /usr/libexec/heartbeat/send_arp -i 10 -r 3 -p /run/pid dmz 192.168.4.20 auto not_used not_used
    within lb2 arping -q -D -c 2 -w 1 -I dmz 192.168.4.20 || true
    on lb1 monitor
    on lb2 migrate_from
    """
    out = check(inside("default/lb1", script)).splitlines()
    assert out == ["lb1 start 0: lb1", "lb1 migrate_to 0: lb1", "lb1 monitor 0: lb1", "lb2 migrate_from 0: lb2"]


def test_pacemaker_leaves_the_address_alone_when_the_other_fails_or_returns(inside: Inside) -> None:
    steps = ["--op-inject haproxy_monitor_500@lb2=1", "--node-down lb2", "--node-up lb2"]
    out = check(inside("default/lb1", simulate(steps)))
    for step in out.split("--- ")[2:]:
        assert "Move " not in step
        assert "floating-ip\t(ocf:rackbox:floating-ip):\t Started lb1" in step.split("Revised Cluster Status")[1]


def test_the_other_takes_over_when_the_holder_is_off(inside: Inside) -> None:
    out = check(inside("default/lb1", simulate(["--node-down lb1"])))
    assert "Started lb2" in out.split("--- ")[2].split("Revised Cluster Status")[1]

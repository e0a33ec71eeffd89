"""The config's section ``load_balancer``: who keeps the floating IP and how fast, HAProxy, and what is balanced."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rackbox.fields import FLAG, PORT, PRIORITIES, URL_PATH, choice, duration_between, whole
from rackbox.roles import ROLES
from rackbox.section import DnsLabel, OptionalAddress, Section, key
from rackbox.topology import Balance, CheckType, Role

# Open lists: a new balancer stack or profile is a name here and one file where its kind lives.
HA_STACKS = ("pacemaker", "keepalived")
PROFILES = ("default", "extreme")

# `profile: extreme`: what is not written takes these. Less margin: a computer that is busy for a tenth of a second can
# look like a lost balancer.
EXTREME = {"corosync.token": 100, "keepalived.advert": 10, "keepalived.down_timer_adverts": 4}


class Corosync(Section):
    # Corosync's own 1 s token (3 s since 3.0) is for data centres; on one computer a packet takes microseconds and
    # only a busy scheduler delays it. Every ms here is a ms of every power cut's outage. A lost token is sent again
    # after token / 4.2, at the earliest after 30 ms: from 127 ms on it takes five losses in a row to lose a member.
    token: Annotated[int, duration_between("100ms", "60s")] = key("150ms", "Silence after which a node counts as lost.")
    # corosync.conf(5): with two nodes, consensus may be below token as long as it is above join.
    consensus: Annotated[int, duration_between("60ms", "60s")] = key(
        "60ms", "Longest wait for agreement on who is left."
    )
    # 30 ms is the least that Corosync takes.
    join: Annotated[int, duration_between("30ms", "10s")] = key("30ms", "Wait for join messages; below consensus.")
    knet_ping: Annotated[Literal["tuned", "auto"], choice("tuned", "auto")] = key(
        "tuned",
        "tuned: the links' own pings are slower than the token. auto: Corosync's own (token / 2), which makes links "
        "flap when the token is 1 s or less, and is refused below 400 ms.",
    )


class Pacemaker(Section):
    """What closes the pair against split brain, and what makes it fast."""

    third_vote: Annotated[bool, FLAG] = key(
        True, "A quorum device: corosync-qnetd on the gateway has the third vote. false: two_node, no third vote."
    )
    fencing: Annotated[bool, FLAG] = key(
        True, "A lost balancer is switched off, through the provider, before its floating IP is taken."
    )
    cut_waits: Annotated[bool, FLAG] = key(
        True, "Two of Pacemaker's own waits are cut short when a balancer is lost (provision/lb/cut-waits.c)."
    )


class Script(Section):
    """keepalived's vrrp_script, for `check: script`."""

    interval: Annotated[int, duration_between("1s", "1h")] = key("2s", "Between runs: whole seconds, no less than one.")
    weight: Annotated[int, whole(-253, 253)] = key(2, "Added to the priority while it passes (or, below 0, fails).")
    fall: Annotated[int, whole(1, 100)] = key(1, "Failed runs until it counts as failed.")
    rise: Annotated[int, whole(1, 100)] = key(1, "Good runs until it counts as good.")


class Keepalived(Section):
    # 5 x 20 ms: with 5 % loss, a hundredth of a false move in 15 minutes; 3 x 40 ms, as fast, would make almost three.
    advert: Annotated[int, duration_between("10ms", "40s")] = key("20ms", "Between VRRP adverts.")
    down_timer_adverts: Annotated[int, whole(1, 100)] = key(5, "Adverts missed until the holder counts as lost.")
    check: Annotated[Literal["process", "script"], choice("process", "script")] = key(
        "process", "process: HAProxy's end is seen at once. script: `killall -0 haproxy`, every now and then."
    )
    script: Script = key({}, "For `check: script`.")
    # VRRP adds a "skew" of (256 - priority) / 256 adverts to each takeover (RFC 9568, 6.1): little, for high ones.
    priorities: Annotated[tuple[int, int], PRIORITIES] = key([250, 249], "VRRP priorities of the two balancers.")
    preempt: Annotated[bool, FLAG] = key(False, "Whether the floating IP goes back to the first when that returns.")


class HaproxyConfig(Section):
    runs_on: Annotated[Literal["both", "holder"], choice("both", "holder")] = key(
        "both", "both: ready on both balancers all the time. holder: only where the floating IP is (Pacemaker)."
    )
    restart: Annotated[bool, FLAG] = key(True, "Whether systemd starts a killed HAProxy again, at once.")
    watch: Annotated[int, duration_between("0ms", "10s")] = key(
        "100ms", "Between looks of a watchdog that ends a hung HAProxy; 0ms = no watchdog."
    )


class CheckConfig(Section):
    type: Annotated[CheckType | None, choice("tcp", "http", "https").optional()] = key(
        None, "tcp: the port answers. http, https: GET `path` says 200. Default: https where a path is given, else tcp."
    )
    path: Annotated[str | None, URL_PATH.optional()] = key(None, "What http and https ask for.")
    port: Annotated[int | None, PORT.optional()] = key(None, "Where is asked. Default: the port that serves.")
    # For a server that does not say that it has lost what it stands on, but keeps everybody waiting.
    first_port: Annotated[int | None, PORT.optional()] = key(
        None, "http and https: a port of the same machine that is asked first, by HTTP; it has to say 200, too."
    )
    first_path: Annotated[str | None, URL_PATH.optional()] = key(None, "What is asked for at `first_port`.")
    # The fast interval counts while a backend is in doubt: one that refuses is taken out within about 700 ms, a silent
    # one within 1.6 s. `fall` is no lower, since `connect_timeout` bounds a check's TLS handshake, too: a busy computer
    # misses it now and then, often on all backends at the same time. A dead one costs little meanwhile: its connections
    # go to the next after `connect_timeout`.
    interval: Annotated[int, duration_between("10ms", "1h")] = key("500ms", "Between checks of a backend that is well.")
    fast_interval: Annotated[int, duration_between("10ms", "1h")] = key(
        "100ms", "Between checks while its state changes."
    )
    fall: Annotated[int, whole(1, 100)] = key(3, "Failed checks until it is taken out.")
    rise: Annotated[int, whole(1, 100)] = key(2, "Good checks until it is back.")
    # An API server on a busy computer needs a second for a handshake now and then. Taken out for it, all its clients
    # come back at the same time, each with another handshake and lists to read again, and it gets busier still.
    patient: Annotated[bool, FLAG] = key(
        False,
        "A check has its whole interval, for connecting, the TLS handshake and the answer together. Otherwise the first"
        " two have no more than `connect_timeout`, and the answer 1 s.",
    )
    # Of several, checks that find nobody well are wrong more often than right: the computer is too busy to answer them
    # in time. Of one they are as right as ever.
    fail_open: Annotated[bool, FLAG] = key(
        True, "Where checks find none of several backends well, all are tried, and new clients are not turned away."
    )


class ServiceConfig(Section):
    name: DnsLabel = Field(description="Its name; <name>.<domain> stands for the floating IP.")
    port: Annotated[int, PORT] = Field(description="The port on the floating IP.")
    backend: Annotated[Role, choice(*(facts.role for facts in ROLES if facts.balanced))] = Field(
        description="The role that serves it."
    )
    backend_port: Annotated[int | None, PORT.optional()] = key(None, "The port on the machines. Default: the same.")
    balance: Annotated[Balance, choice("roundrobin", "leastconn")] = key(
        "roundrobin",
        "roundrobin: each backend in turn. leastconn: the one with the fewest open connections; a slow one gets less.",
    )
    check: CheckConfig = key({}, "How a backend shows that it is well.")
    proxy_protocol: Annotated[bool, FLAG] = key(
        False, "Backends are told each client's address by the PROXY protocol (version 2), which they must expect."
    )
    # On a lab's network a connection stands within a millisecond or not at all; short, so that the next one is tried.
    connect_timeout: Annotated[int, duration_between("10ms", "1m")] = key(
        "300ms", "Longest wait for a backend's TCP answer."
    )
    # Watches and `logs -f` are silent for hours; the usual 20-50 s cut them.
    stream_timeout: Annotated[int, duration_between("1s", "30d")] = key("24h", "Longest silence on a connection.")
    host_port: Annotated[int | None, whole(0, 65535).optional()] = key(
        None, "Port on the host's 127.0.0.1 that leads here, 0 for none. Default: 10000 + port."
    )


class LoadBalancerConfig(Section):
    ha: Annotated[str, choice(*HA_STACKS)] = key("pacemaker", "What keeps the floating IP on a living balancer.")
    floating_ip: OptionalAddress = key(None, "In the balancers' network. Default: its address .20.")
    name: DnsLabel = key("vip", "The floating IP's DNS name.")
    profile: Annotated[str, choice(*PROFILES)] = key(
        "default", "default: fast, without false alarms on a busy computer. extreme: faster, with less margin."
    )
    corosync: Corosync = key({}, "Pacemaker's messages: how fast a lost balancer is noticed.")
    pacemaker: Pacemaker = key({}, "Pacemaker's safeguards against two holders, and its waits.")
    keepalived: Keepalived = key({}, "keepalived's settings, for `ha: keepalived`.")
    haproxy: HaproxyConfig = key({}, "Where HAProxy runs, and who looks after it.")
    arp_refresh: Annotated[bool, FLAG] = key(
        True, "Whether the holder tells the network again and again where the floating IP is."
    )
    # A SIGKILLed HAProxy is seen by this and nothing else, so it is most of that scenario's outage.
    monitor: Annotated[int, duration_between("100ms", "10m")] = key(
        "500ms", "Between looks at HAProxy and the floating IP."
    )
    stats_port: Annotated[int, PORT] = key(8404, "HAProxy's statistics page (password in the lab's secrets).")
    services: tuple[ServiceConfig, ...] | None = key(
        None, "What is balanced. Default: etcd (2379), if there are masters. A list replaces the default."
    )

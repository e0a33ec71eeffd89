"""A stand-in for a lab's gateway in the lab's place, for the minute in which the gateway is made anew.

Entry points: ``open_stand_in``; ``remove_stand_in`` takes away what a killed command left. The stand-in is a network
namespace with the gateway's addresses, MACs, routes and firewall rules; it forwards, and serves neither DHCP nor DNS
(leases outlive it). It is held open by one process that ends with the command that started it, however that ends.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rackbox.errors import LabError
from rackbox.place import Place, enter_argv
from rackbox.run import run
from rackbox.topology import MANAGEMENT, WAN, Nic, Topology

TABLE = "rackbox-stand-in"
MAX_SECONDS = 3600
_TIMEOUT = 10.0


@contextmanager
def open_stand_in(place: Place, topology: Topology, ports: Mapping[str, Nic], rules: str) -> Iterator[None]:
    """``ports`` are the gateway's own by their names on this side, ``rules`` its nftables file. Packets change over at
    once, both ways: the ports are switched together, and MACs and addresses stay."""
    ports = {name: nic for name, nic in ports.items() if nic.network != MANAGEMENT}
    nics = list(ports.values())
    remove_stand_in(place)
    argv = ["setpriv", "--pdeathsig=KILL", *enter_argv(place, ["unshare", "--net", "sleep", str(MAX_SECONDS)])]
    holder = subprocess.Popen(  # noqa: S603 - an argv list; the namespace lives for as long as this process
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for_namespace(place, holder)
        _furnish(place, topology, nics, holder.pid, rules)
        _switch_to_stand_in(place, ports)
        try:
            yield
        finally:
            _switch_back(place, nics)
    finally:
        holder.kill()
        holder.wait()


def remove_stand_in(place: Place) -> None:
    """Let the gateway's ports speak again. The rest went with the command that had made it. Idempotent."""
    if place.exists():
        script = f"nft delete table bridge {TABLE} 2>/dev/null || true"
        run(enter_argv(place, ["bash", "-c", script]), timeout=_TIMEOUT)


def _wait_for_namespace(place: Place, holder: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    ours = place.net_file.stat().st_ino
    own = Path("/proc/self/ns/net").stat().st_ino
    while time.monotonic() < deadline and holder.poll() is None:
        # First it is where we are, then in the place, then in a namespace of its own.
        if Path(f"/proc/{holder.pid}/ns/net").stat().st_ino not in (ours, own):
            return
        time.sleep(0.01)
    raise LabError("the gateway's stand-in did not start", "try again")


def _furnish(place: Place, topology: Topology, nics: list[Nic], pid: int, rules: str) -> None:
    """Addresses, routes and rules, while nothing is plugged in yet."""
    outside = [
        f"ip link add {_port(number)} type veth peer name {nic.network} address {nic.mac} netns {pid}"
        for number, nic in enumerate(nics)
    ]
    outside += [f"sysctl -qw net.ipv6.conf.{_port(number)}.disable_ipv6=1" for number in range(len(nics))]
    outside += [f"ip link set dev {_port(number)} up" for number in range(len(nics))]
    run(enter_argv(place, ["bash", "-euc", "\n".join(outside)]), timeout=_TIMEOUT)
    inside = ["sysctl -qw net.ipv6.conf.all.disable_ipv6=1", "ip link set dev lo up"]
    for nic in nics:
        inside += [
            f"ip address add {nic.address.with_prefixlen} dev {nic.network}",
            f"ip link set dev {nic.network} up",
        ]
    wan = next((network for network in topology.networks if network.name == WAN), None)
    if wan is not None and wan.gateway is not None and any(nic.network == WAN for nic in nics):
        inside.append(f"ip route add default via {wan.gateway}")
    # The rules come before the forwarding, as in the gateway itself.
    inside += ["nft --file -", "sysctl -qw net.ipv4.ip_forward=1"]
    run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "--", "bash", "-euc", "\n".join(inside)], timeout=_TIMEOUT, input=rules
    )


def _switch_to_stand_in(place: Place, ports: Mapping[str, Nic]) -> None:
    """Unplug the gateway, plug in the stand-in, and keep whatever comes up at the gateway's ports from speaking: the
    new gateway has the same MACs, and bridges must not learn them there before it forwards."""
    quoted = ", ".join(f'"{name}"' for name in ports)
    batch = [f"link set dev {name} down nomaster" for name in ports]
    batch += [f"link set dev {_port(number)} master {nic.network}" for number, nic in enumerate(ports.values())]
    script = f"""nft add table bridge {TABLE}
nft 'add chain bridge {TABLE} input {{ type filter hook prerouting priority -300; policy accept; }}'
nft 'add rule bridge {TABLE} input iifname {{ {quoted} }} drop'
ip -batch -"""
    run(enter_argv(place, ["bash", "-euc", script]), timeout=_TIMEOUT, input="\n".join(batch) + "\n")


def _switch_back(place: Place, nics: list[Nic]) -> None:
    batch = [f"link set dev {_port(number)} down nomaster" for number in range(len(nics))]
    script = f"nft delete table bridge {TABLE}\nip -batch -"
    run(enter_argv(place, ["bash", "-euc", script]), timeout=_TIMEOUT, input="\n".join(batch) + "\n")


def _port(number: int) -> str:
    """The stand-in's host-side port; no machine or network name has an underscore."""
    return f"standin_{number}"

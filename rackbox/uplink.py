"""`uplink: nat`: the WAN reaches the outside through this computer. Entry points: ``add_uplink``, ``remove_uplink``.

A veth pair leads from the computer's own network into the lab's namespace, on a free 100.64.x.y/30 (RFC 6598: no
network of anybody's). The computer forwards and masquerades for this link alone, by one nft table, ``rackbox-<lab>``.
In the namespace only what comes from the WAN is sent to it, by a routing table of its own: the lab's other networks,
the management network and the client's place see no way out, and nothing unasked for comes in.

Names are not its business: `dns.upstream` says whom the gateway asks. Where the computer's own firewall drops what it
forwards (Docker's does), the link needs a rule there, too: nothing of others is touched here.

What the computer was before is kept in ``<runtime>/uplinks/`` until the last uplink is gone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from rackbox.errors import LabError
from rackbox.locks import hold_lock
from rackbox.place import Place, enter_argv
from rackbox.run import run
from rackbox.topology import WAN, Topology

SHARED = IPv4Network("100.64.0.0/10")
"""Shared address space (RFC 6598)."""
INSIDE = "host_uplink"
"""The link's name in the lab's namespace. No network's name has an underscore."""
TABLE = 100
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True, slots=True)
class Uplink:
    """One lab's link: ``subnet`` holds two addresses, the computer's and the namespace's."""

    lab: str
    subnet: IPv4Network

    @property
    def link(self) -> str:
        """The link's name on the computer, at most 15 characters (IFNAMSIZ)."""
        readable = f"rb-{self.lab}"
        return readable if len(readable) <= 15 else "rb_" + hashlib.sha256(self.lab.encode()).hexdigest()[:12]

    @property
    def table(self) -> str:
        return f"rackbox-{self.lab}"

    @property
    def outer(self) -> IPv4Address:
        return self.subnet[1]

    @property
    def inner(self) -> IPv4Address:
        return self.subnet[2]


def choose_subnet(lab: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """A /30 that meets none of ``taken``: the same for the same lab wherever that is free."""
    taken = [network for network in taken if network.overlaps(SHARED)]
    count = SHARED.num_addresses // 4
    first = int.from_bytes(hashlib.sha256(lab.encode()).digest()[:4], "big") % count
    for step in range(count):
        subnet = IPv4Network((int(SHARED.network_address) + (first + step) % count * 4, 30))
        hit = next((network for network in taken if network.overlaps(subnet)), None)
        if hit is None:
            return subnet
        if hit.num_addresses >= SHARED.num_addresses:
            break
    raise LabError(f"uplink: no free /30 in {SHARED} for lab {lab}", "set `uplink: none`, or free a part of it")


def host_rules(uplink: Uplink) -> str:
    """The one table on this computer: out what comes from the link, in what was asked for, and no more."""
    link, subnet = uplink.link, uplink.subnet
    return f"""\
add table ip {uplink.table}
delete table ip {uplink.table}
table ip {uplink.table} {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{link}" ip saddr {subnet} accept
    iifname "{link}" drop
    oifname "{link}" ct state established,related accept
    oifname "{link}" drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != "{link}" masquerade
  }}
}}
"""


def inside_rules(bridges: Iterable[str]) -> str:
    """The table in the lab's namespace: from the WAN to the link, back what was asked for, nothing else.

    Where br_netfilter is loaded, what a bridge carries between its own ports passes here, too, and must.
    """
    same = ", ".join(f'"{name}" . "{name}"' for name in bridges)
    return f"""\
add table ip rackbox_uplink
delete table ip rackbox_uplink
table ip rackbox_uplink {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname . oifname {{ {same} }} accept
    iifname "{WAN}" oifname "{INSIDE}" accept
    iifname "{INSIDE}" oifname "{WAN}" ct state established,related accept
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{INSIDE}" masquerade
  }}
}}
"""


def add_uplink(place: Place, topology: Topology, forwarding: Path = FORWARDING) -> None:
    """Join the lab's WAN to this computer. Idempotent."""
    if _is_there(place):
        return
    remove_uplink(place, forwarding)  # what an `up` that was killed, or a lost namespace, has left
    with _records(place) as records:
        uplink = Uplink(place.lab, choose_subnet(place.lab, _taken(topology)))
        # Noted before anything is made, so that whatever is made is found again.
        note = {"subnet": str(uplink.subnet), "forwarding": forwarding.read_text().strip()}
        (records / f"{place.lab}.json").write_text(json.dumps(note))
        make = ["ip", "link", "add", "name", uplink.link, "type", "veth", "peer", "name", INSIDE, "netns", place.netns]
        run(make, timeout=10)
        run(["ip", "address", "add", f"{uplink.outer}/30", "dev", uplink.link], timeout=10)
        run(["ip", "link", "set", "dev", uplink.link, "up"], timeout=10)
        run(["nft", "-f", "-"], timeout=10, input=host_rules(uplink))
        forwarding.write_text("1")
    _open_inside(place, topology, uplink)


def remove_uplink(place: Place, forwarding: Path = FORWARDING) -> None:
    """Take away all that ``add_uplink`` made on this computer. Idempotent."""
    record = _directory(place) / f"{place.lab}.json"
    if not record.exists():
        return
    with _records(place) as records:
        found = json.loads(record.read_text())
        uplink = Uplink(place.lab, IPv4Network(found["subnet"]))
        others = [other for other in records.glob("*.json") if other != record]
        if not others:
            forwarding.write_text(found["forwarding"])
        elif found["forwarding"] != "1":
            # Found as it was before any of us: the last one to go puts it back.
            for other in others:
                other.write_text(json.dumps({**json.loads(other.read_text()), "forwarding": found["forwarding"]}))
        run(["nft", f"add table ip {uplink.table}; delete table ip {uplink.table}"], timeout=10)
        run(["ip", "link", "delete", "dev", uplink.link], timeout=10, check=False)  # it goes with the namespace, too
        if place.exists():
            script = f"while ip rule delete iif {WAN} lookup {TABLE}; do :; done 2>/dev/null"
            run(enter_argv(place, ["bash", "-c", script]), timeout=10, check=False)
        record.unlink()


def _is_there(place: Place) -> bool:
    """Whether the whole of it is: the rule inside is made last."""
    rules = run(enter_argv(place, ["ip", "rule", "show", "iif", WAN]), timeout=10, check=False)
    return rules.ok and f"lookup {TABLE}" in rules.stdout


def _open_inside(place: Place, topology: Topology, uplink: Uplink) -> None:
    wan = topology.network(WAN)
    ours = [network.cidr for network in topology.networks if network.name != WAN]
    lines = [
        f"ip address add {uplink.inner}/30 dev {INSIDE}",
        # The namespace itself has no route to where these answers come from.
        f"sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{INSIDE}.rp_filter=0",
        f"sysctl -qw net.ipv6.conf.{INSIDE}.disable_ipv6=1",
        f"ip link set dev {INSIDE} up",
        f"ip address replace {wan.gateway}/{wan.cidr.prefixlen} dev {WAN}",
        *(f"ip route replace prohibit {cidr} table {TABLE}" for cidr in ours),
        f"ip route replace default via {uplink.outer} dev {INSIDE} table {TABLE}",
        "sysctl -qw net.ipv4.ip_forward=1",
        f"ip rule add iif {WAN} lookup {TABLE} priority {TABLE}",
    ]
    rules = inside_rules([network.name for network in topology.networks])
    run(enter_argv(place, ["nft", "-f", "-"]), timeout=10, input=rules)
    run(enter_argv(place, ["bash", "-euc", "\n".join(lines)]), timeout=10)


def _taken(topology: Topology) -> list[IPv4Network]:
    """Networks that this computer or the lab knows already; other labs' links are among its addresses."""
    taken = [network.cidr for network in topology.networks]
    for route in json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"], timeout=10).stdout):
        if route["dst"] != "default":
            taken.append(IPv4Network(route["dst"], strict=False))
    return taken


@contextmanager
def _records(place: Place) -> Iterator[Path]:
    """The directory of all labs' uplinks, held against other labs' `up` and `down`."""
    records = _directory(place)
    with hold_lock(records / "lock"):
        yield records


def _directory(place: Place) -> Path:
    return place.runtime.parent / "uplinks"

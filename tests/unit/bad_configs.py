"""Files that describe no lab, and what a user is told about each: line, path, words. Data for ``test_bad_configs``.

A new check gets a row here. ``text`` begins on line 1; ``START`` is three lines, so what follows it begins on line 4.
"""

from __future__ import annotations

from dataclasses import dataclass

START = "name: lab\nnodes:\n  gateway:\n"
LB = START + "  lb:\n  master:\nload_balancer:\n"  # the balancer's keys begin on line 7
SERVICE = LB + "  services:\n    - {name: api, port: 6443, backend: master}\n"  # the second service: line 9


@dataclass(frozen=True)
class Bad:
    """``text`` is one file; ``words`` must be in the one problem at ``line`` and ``path``."""

    name: str
    text: str | bytes
    line: int
    path: str
    words: str


SYNTAX = [
    Bad("empty file", "", 0, "", "must describe a lab; got an empty file"),
    Bad("only comments", "# a lab\n# of mine\n", 0, "", "got an empty file"),
    Bad("only null", "---\n~\n", 0, "", "got an empty file"),
    Bad("a list", "- name: lab\n", 1, "", "must be a mapping (key: value); got a list"),
    Bad("a word", "\nlab\n", 2, "", "must be a mapping (key: value); got a plain value"),
    Bad(
        "not closed",
        "name: lab\nnodes: {gateway: {}\nuplink: nat\n",
        3,
        "",
        "must be valid YAML; did not find expected",
    ),
    Bad("no colon", "name: lab\nnodes\n  gateway:\n", 3, "", "must be valid YAML; "),
    Bad("tab", "name: lab\nnodes:\n\tgateway:\n", 3, "", "must be indented with spaces; got a tab"),
    Bad(
        "tab after key",
        "name: lab\nnodes:\n  gateway:\n\t  cpus: 1\n",
        4,
        "",
        "must be indented with spaces; got a tab",
    ),
    Bad("not UTF-8", b"name: lab\ndomain: k\xe9be\n", 2, "", "must be UTF-8; got byte 0xe9"),
    Bad("UTF-16", "name: lab\n".encode("utf-16"), 1, "", "must be UTF-8; got byte 0xff"),
    Bad("control character", "name: lab\ndomain: a\x07b\n", 2, "", "must be text; got a control character"),
    Bad("NUL", b"name: lab\x00\n", 1, "", "must be text; got a control character"),
    Bad("two documents", "name: lab\n---\nname: other\n", 2, "", "must be one YAML document; got a second one"),
    Bad("key twice", START + "name: other\n", 4, "name", "must be given once; also on line 1"),
    Bad("role twice", START + "  lb: {}\n  gateway:\n", 5, "nodes.gateway", "must be given once; also on line 3"),
    Bad("alias", "name: &n lab\ndomain: *n\nnodes: {gateway: }\n", 2, "domain", "aliases (*name) are not supported"),
    Bad("unknown alias", "name: *n\n", 1, "name", "aliases (*name) are not supported"),
    Bad(
        "alias bomb",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\n",
        2,
        "b[0]",
        "aliases (*name) are not supported",
    ),
    Bad("merge key", "name: lab\nx: &x {}\nnodes:\n  <<: *x\n", 4, "nodes.<<", "aliases (*name) are not supported"),
    Bad("tag", "name: !!python/name:os.system lab\n", 1, "name", "tags (tag:yaml.org,2002:python/name:os.system)"),
    Bad("list as key", START + "[a, b]: c\n", 4, "", "must have plain keys"),
    Bad("deep", "name: " + "[" * 60 + "]" * 60 + "\n", 1, "name[0][0]", "must be nested at most 32 deep"),
]

KEYS = [
    Bad("unknown key", START + "upling: nat\n", 4, "upling", "unknown key; did you mean uplink?"),
    Bad("unknown key, nothing near", START + "zzz: 1\n", 4, "zzz", "unknown key; must be one of name, domain, os,"),
    Bad("unknown role", START + "  etcd: {}\n", 4, "nodes.etcd", "must be one of gateway, lb, master, gluster, worker"),
    Bad("plural role", START + "  masters: {}\n", 4, "nodes.masters", "did you mean master?"),
    Bad("unknown key of a role", START + "  lb: {cuont: 2}\n", 4, "nodes.lb.cuont", "did you mean count?"),
    Bad(
        "unknown key of a service",
        LB + "  services:\n    - {name: a, port: 1, backend: master, check: {pth: /}}\n",
        8,
        "load_balancer.services[0].check.pth",
        "did you mean path?",
    ),
    Bad("no name", "nodes:\n  gateway:\n", 1, "name", "must be given; got nothing"),
    Bad("no nodes", "name: lab\n", 1, "nodes", "must be given; got nothing"),
    Bad(
        "name with capitals",
        "name: Lab\nnodes: {gateway: }\n",
        1,
        "name",
        "begins with a letter, at most 20 long; got Lab",
    ),
    Bad("name too long", f"name: {'x' * 21}\nnodes: {{gateway: }}\n", 1, "name", f"at most 20 long; got {'x' * 21}"),
    Bad("name with a dot", "name: a.b\nnodes: {gateway: }\n", 1, "name", "must be a name of a-z"),
    Bad("name is a path", "name: ../x\nnodes: {gateway: }\n", 1, "name", "must be a name of a-z"),
    Bad("name is a number", "name: 7\nnodes: {gateway: }\n", 1, "name", "must be a name of a-z"),
    Bad("name is nothing", "name:\nnodes: {gateway: }\n", 1, "name", "got nothing"),
    Bad("domain with underscore", START + "domain: kube_demo\n", 4, "domain", "must be a DNS domain of a-z"),
    Bad("domain with empty label", START + "domain: kube..demo\n", 4, "domain", "must be a DNS domain of a-z"),
    Bad("domain local", START + "domain: kube.local\n", 4, "domain", "must not be local"),
    Bad(
        "unknown system",
        START + "os: debian-7\n",
        4,
        "os",
        "must be one of debian-13, debian-12, ubuntu-26.04, ubuntu-24.04; got debian-7",
    ),
    Bad(
        "unknown provider",
        START + "provider: qemu\n",
        4,
        "provider",
        "must be one of auto, lxc, libvirt, virtualbox; got",
    ),
    Bad("uplink is a boolean", START + "uplink: false\n", 4, "uplink", "must be none or nat; got false"),
    Bad(
        "nodes is a list", "name: lab\nnodes:\n  - gateway\n", 2, "nodes", "must be a mapping (key: value); got a list"
    ),
    Bad("role is a number", START + "  master: 3\n", 4, "nodes.master", "must be a mapping (key: value); got 3"),
    Bad("count is a word", START + "  worker: {count: three}\n", 4, "nodes.worker.count", "from 0 to 20000; got three"),
    Bad("count is text", START + '  worker: {count: "3"}\n', 4, "nodes.worker.count", 'from 0 to 20000; got "3"'),
    Bad("count is true", START + "  worker: {count: true}\n", 4, "nodes.worker.count", "from 0 to 20000; got true"),
    Bad("count is negative", START + "  worker: {count: -1}\n", 4, "nodes.worker.count", "from 0 to 20000; got -1"),
    Bad("count is a fraction", START + "  worker: {count: 1.5}\n", 4, "nodes.worker.count", "from 0 to 20000; got 1.5"),
    Bad(
        "count beyond all", START + f"  worker: {{count: {10**12}}}\n", 4, "nodes.worker.count", "from 0 to 20000; got"
    ),
    Bad("memory without unit", START + "  lb: {memory: 512}\n", 4, "nodes.lb.memory", "must be a size with its unit"),
    Bad("memory too small", START + "  lb: {memory: 1M}\n", 4, "nodes.lb.memory", "must be from 128M to 1T; got 1M"),
    Bad("no cpus", START + "  lb: {cpus: 0}\n", 4, "nodes.lb.cpus", "must be a whole number from 1 to 256; got 0"),
    Bad("token without unit", LB + "  corosync: {token: 600}\n", 7, "load_balancer.corosync.token", "with its unit"),
    Bad(
        "token too short",
        LB + "  corosync: {token: 1ms}\n",
        7,
        "load_balancer.corosync.token",
        "must be from 100ms to 60s",
    ),
    Bad(
        "automatic ping at a short token",
        LB + "  corosync: {knet_ping: auto}\n",
        7,
        "load_balancer.corosync.knet_ping",
        "must be tuned where the token (150ms) is below 400ms",
    ),
    Bad("port of time", LB + "  stats_port: 22:30\n", 7, "load_balancer.stats_port", "from 1 to 65535; got 22:30"),
    Bad("octal port", LB + "  stats_port: 08404\n", 7, "load_balancer.stats_port", "from 1 to 65535; got "),
    Bad(
        "upstream is a name",
        START + "dns: {upstream: [dns.example]}\n",
        4,
        "dns.upstream[0]",
        "must be an IPv4 address",
    ),
    Bad(
        "upstream is no list",
        START + "dns: {upstream: 192.0.2.1}\n",
        4,
        "dns.upstream",
        "must be a list; got 192.0.2.1",
    ),
    Bad(
        "budget is a number",
        START + "failover: {budgets: {haproxy-killed: 500}}\n",
        4,
        "failover.budgets.haproxy-killed",
        "must be a duration with its unit, such as 500ms, 2s, 5m or 24h; got 500",
    ),
    Bad(
        "budget of no scenario",
        START + "failover: {budgets: {holder-power-off: 2s}}\n",
        4,
        "failover.budgets.holder-power-off",
        "unknown scenario; did you mean holder-powered-off?",
    ),
    Bad(
        "ha unknown", LB + "  ha: heartbeat\n", 7, "load_balancer.ha", "must be pacemaker or keepalived; got heartbeat"
    ),
    Bad(
        "mount into the system",
        START + "  worker:\n    volumes:\n      data: {size: 1G, mount: /usr/data}\n",
        6,
        "nodes.worker.volumes.data.mount",
        "must not be inside /usr",
    ),
    Bad(
        "mount climbs",
        START + "  worker:\n    volumes:\n      data: {size: 1G, mount: /srv/../x}\n",
        6,
        "nodes.worker.volumes.data.mount",
        "must be an absolute path",
    ),
    Bad(
        "volume of the box's",
        START + "  worker:\n    volumes:\n      root: {size: 1G, mount: /srv/x}\n",
        6,
        "nodes.worker.volumes.root.mount",
        "must be /, where the box has it; got /srv/x",
    ),
]

NETWORKS = [
    Bad("host bits", START + "wan: 198.51.100.7/24\n", 4, "wan", "did you mean 198.51.100.0/24?; got 198.51.100.7/24"),
    Bad("no length", START + "wan: 198.51.100.0\n", 4, "wan", "the /length is missing"),
    Bad("no network", START + "wan: 198.51.100.300/24\n", 4, "wan", "must be an IPv4 network, such as 192.168.4.0/24"),
    Bad("IPv6", START + "wan: 2001:db8::/64\n", 4, "wan", "IPv6 is not supported"),
    Bad("loopback", START + "wan: 127.0.0.0/24\n", 4, "wan", "127.0.0.0/8 is for loopback"),
    Bad("multicast", START + "wan: 230.1.0.0/24\n", 4, "wan", "224.0.0.0/4 is for multicast"),
    Bad("too small", START + "wan: 198.51.100.0/30\n", 4, "wan", "must be from /8 to /29"),
    Bad("management too small", START + "management: 10.77.0.0/24\n", 4, "management", "must be /20 or larger"),
    Bad("no networks", START + "networks: {}\n", 4, "networks", "must name at least one network"),
    Bad("network without range", START + "networks: {dmz: }\n", 4, "networks.dmz.cidr", "must be given; got nothing"),
    Bad(
        "network name too long",
        START + "networks:\n  thisnameistoolong: {cidr: 10.1.0.0/24}\n",
        5,
        "networks.thisnameistoolong",
        "begins with a letter, at most 15 long; got thisnameistoolong",
    ),
    Bad(
        "network named mgmt",
        START + "networks: {mgmt: {cidr: 10.1.0.0/24}}\n",
        4,
        "networks.mgmt",
        "are taken; got mgmt",
    ),
    Bad("network named lo", START + "networks: {lo: {cidr: 10.1.0.0/24}}\n", 4, "networks.lo", "are taken; got lo"),
    Bad(
        "networks overlap",
        START + "networks:\n  a: {cidr: 10.1.0.0/16}\n  b: {cidr: 10.1.2.0/24}\n",
        6,
        "networks.b.cidr",
        "must not overlap a (10.1.0.0/16); got 10.1.2.0/24",
    ),
    Bad(
        "network overlaps management",
        START + "networks:\n  a: {cidr: 10.77.3.0/24}\n",
        5,
        "networks.a.cidr",
        "must not overlap management (10.77.0.0/16); got 10.77.3.0/24",
    ),
    Bad(
        "wan overlaps a default network",
        START + "wan: 192.168.0.0/16\n",
        4,
        "wan",
        "must not overlap",
    ),
    Bad(
        "reserved elsewhere",
        START + "networks:\n  a: {cidr: 10.1.0.0/24, reserved: 10.2.0.1-10.2.0.9}\n",
        5,
        "networks.a.reserved",
        "must be inside of 10.1.0.0/24; got 10.2.0.1-10.2.0.9",
    ),
    Bad(
        "reserved backwards",
        START + "networks:\n  a: {cidr: 10.1.0.0/24, reserved: 10.1.0.9-10.1.0.1}\n",
        5,
        "networks.a.reserved",
        "first address is not above its last; got 10.1.0.9-10.1.0.1",
    ),
    Bad(
        "reserved is a word",
        START + "networks:\n  a: {cidr: 10.1.0.0/24, reserved: some}\n",
        5,
        "networks.a.reserved",
        "must be a range a-b, an address, or a list of these",
    ),
    Bad(
        "reserved takes the gateway's",
        START + "networks:\n  a:\n    cidr: 10.1.0.0/24\n    reserved: 10.1.0.200-10.1.0.254\n",
        7,
        "networks.a.reserved",
        "must leave the gateway's address 10.1.0.254 free",
    ),
    Bad(
        "gateway elsewhere",
        START + "networks:\n  a: {cidr: 10.1.0.0/24, gateway: 10.2.0.1}\n",
        5,
        "networks.a.gateway",
        "must be inside of a (10.1.0.0/24); got 10.2.0.1",
    ),
    Bad(
        "clients nowhere",
        START + "client_network: dmx\n",
        4,
        "client_network",
        "must be one of dmz, mast, node, glus; got dmx",
    ),
]

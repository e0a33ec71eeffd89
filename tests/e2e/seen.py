"""What the machines of a lab see of it, to be compared between providers. Entry point: ``what_machines_see``."""

from __future__ import annotations

import re

from tests.e2e.labs import LabUnderTest

# Sections of lines. Left out are the management network, which each provider has its own way to, the kernel's own
# addresses (fe80), the links' numbers, and which of the two balancers has the floating IP.
_SCRIPT = """\
echo "# names"
for name in {names}; do echo "$name $(getent ahostsv4 "$name" | cut -d' ' -f1 | sort -u | xargs)"; done
echo "# addresses"
for address in {addresses}; do echo "$address $(getent hosts "$address" | tr -s ' ' | cut -d' ' -f2-)"; done
echo "# cards"
ip -4 -json address |
  jq -r '.[] | select(.ifname != "mgmt") | .ifname as $n | .addr_info[] | "\\($n) \\(.local)/\\(.prefixlen)"' |
  grep --invert-match ' {floating}/'
echo "# routes"
ip -4 route | grep --invert-match 'dev mgmt'
echo "# resolver"
{{ resolvectl dns; resolvectl domain; }} | sed 's/^Link [0-9]* //' | grep --invert-match mgmt
echo "# services"
systemctl list-units --type=service --state=running --plain --no-legend | cut -d' ' -f1
echo "# listening"
ss -Hltun | awk '{{ print $1, $5 }}' | grep --invert-match 'fe80::'
echo "# host"
hostname; hostname --fqdn; cat /etc/hosts
echo "# told"
grep --invert-match --extended-regexp '^(#|RACKBOX_(VOLUMES|DISK_MIB)=)' /etc/rackbox/env
echo "# leases"
if test -e /var/lib/misc/dnsmasq.leases; then cut -d' ' -f2-4 /var/lib/misc/dnsmasq.leases; fi
"""
_OF_ITS_KIND = re.compile(
    r"(console-getty|serial-getty@.*|getty@.*|systemd-(udevd|timesyncd)|dm-event|lvm2-.*)\.service"
)
"""Services by which a container and a virtual machine are one."""


def differing(
    one: dict[str, dict[str, list[str]]], other: dict[str, dict[str, list[str]]]
) -> dict[str, tuple[list[str], list[str]]]:
    """By machine and section, the lines that only one and only the other has; a machine must be in both."""
    assert one.keys() == other.keys()
    found: dict[str, tuple[list[str], list[str]]] = {}
    for name, sections in one.items():
        assert sections.keys() == other[name].keys()
        for title, lines in sections.items():
            theirs = other[name][title]
            if lines != theirs:
                only = [line for line in lines if line not in theirs], [line for line in theirs if line not in lines]
                found[f"{name} {title}"] = only
    return found


def what_machines_see(lab: LabUnderTest) -> dict[str, dict[str, list[str]]]:
    """By machine and section (names, addresses, cards, routes, resolver, services, listening, host, told, leases): the
    sorted lines."""
    records = lab.live.topology.dns
    script = _SCRIPT.format(
        names=" ".join(sorted({record.name for record in records if "*" not in record.name})),
        floating=lab.floating_ip.replace(".", "[.]"),
        addresses=" ".join(sorted({str(record.address) for record in records})),
    )
    seen: dict[str, dict[str, list[str]]] = {}
    for name, said in lab.on_each(lab.names(), script, timeout=120).items():
        sections = [part.splitlines() for part in said.removeprefix("# ").split("\n# ")]
        seen[name] = {title: sorted(line.strip() for line in lines) for title, *lines in sections}
        seen[name]["services"] = [line for line in seen[name]["services"] if not _OF_ITS_KIND.fullmatch(line)]
    return seen

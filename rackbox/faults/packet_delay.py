"""Packet delay: what one balancer sends to another arrives later.

The kernel's own way (tc netem) is a module that many kernels lack, and it delays a whole network card. Here the packets
for the other balancer, and no others, wait in a netfilter queue for a small program in the machine to let them go
(``delayer.py``); if that dies, they pass at once.
"""

from __future__ import annotations

import re
from pathlib import Path

from rackbox.faults.base import Evidence, Fault, Site
from rackbox.faults.firewall import other_balancers
from rackbox.machine import Machine

DELAY_MS = 50
CHAIN = "RACKBOX_FAULT"
UNIT = "rackbox-delayer.service"
QUEUE = 9011
DELAYER = Path(__file__).parent / "delayer.py"
_FILE = "/run/rackbox-delayer.py"

# iptables, because the kernel's queue is asked for by its target; nft's own `queue` is another module. What iptables
# makes for itself goes again when it is empty.
REMOVE = f"""\
if iptables --table mangle --list {CHAIN} --numeric >/dev/null 2>&1; then
    iptables --table mangle --delete OUTPUT --jump {CHAIN} 2>/dev/null || true
    iptables --table mangle --flush {CHAIN}
    iptables --table mangle --delete-chain {CHAIN}
    if ! iptables --table mangle --list-rules | grep --quiet '^-A'; then
        nft delete table ip mangle
    fi
fi
systemctl stop {UNIT} 2>/dev/null || true
rm --force {_FILE}
"""

_START = f"""\
cat >{_FILE} <<'PROGRAM'
{{program}}
PROGRAM
systemd-run --quiet --collect --unit={UNIT} --property=Type=notify --property=NotifyAccess=all \\
    --property=Nice=-15 python3 {_FILE} {QUEUE} {DELAY_MS}
"""

# The queue is bypassed while nobody listens, so the rule comes after the program.
_DIVERT = f"""\
iptables --table mangle --new-chain {CHAIN}
{{rules}}
iptables --table mangle --append OUTPUT --jump {CHAIN}
"""


class PacketDelay(Fault):
    name = "packet-delay"
    roles = ("lb",)
    summary = f"packets between the balancers arrive {DELAY_MS} ms later, each way"

    def setup(self, site: Site) -> None:
        script = REMOVE + _START.format(program=DELAYER.read_text(encoding="utf-8"))
        site.each(lambda machine: machine.run(f"# setup {self.name}\n{script}"))

    def inject(self, site: Site) -> None:
        def divert(machine: Machine) -> None:
            rules = "\n".join(
                f"iptables --table mangle --append {CHAIN} --destination {address} "
                f"--jump NFQUEUE --queue-num {QUEUE} --queue-bypass"
                for address in other_balancers(site.lab.topology, machine.node.name)
            )
            machine.run(f"# inject {self.name}\n{_DIVERT.format(rules=rules)}")

        site.each(divert)

    def heal(self, site: Site) -> None:
        self.mend_inside(site, REMOVE)

    def evidence(self, site: Site) -> Evidence:
        """Milliseconds to the other balancer and back; empty if there is no answer."""

        def look(machine: Machine) -> str:
            (address, *_) = other_balancers(site.lab.topology, machine.node.name)
            # Two, because the first may wait for ARP.
            ping = f"ping -c 2 -i 0.1 -W 1 -q {address} || true"
            said = re.search(r"= ([0-9.]+)/", machine.run(f"# evidence {self.name}\n{ping}").stdout)
            return said[1] if said else ""

        return site.each(look)

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        if not before:
            return False
        try:
            return all(float(str(after.get(name))) - float(str(seen)) > 0.9 * DELAY_MS for name, seen in before.items())
        except ValueError:
            return False

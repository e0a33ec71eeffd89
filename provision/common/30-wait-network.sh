#!/usr/bin/env bash
# Waits for this machine's leases and for the lab's DNS, whichever machine booted first.
#
# A client that finds no server backs off for longer and longer; asking anew keeps the wait short when the
# gateway comes up last.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

has_lease() {
  [[ -n $(ip -4 -oneline address show dev "$1" scope global) ]]
}

ask_again() {
  local nic=$1 deadline=$((SECONDS + RACKBOX_WAIT_SECONDS)) turns=0
  until has_lease "$nic"; do
    if ((SECONDS >= deadline)); then
      die "no DHCP lease on $nic within $RACKBOX_WAIT_SECONDS s: $(networkctl --no-pager --lines=0 status "$nic" 2>&1)"
    fi
    if ((++turns % 8 == 0)); then
      networkctl reconfigure "$nic"
    fi
    sleep 0.2
  done
}

for nic in $RACKBOX_DHCP_NICS; do
  ask_again "$nic"
done

if [[ -n $RACKBOX_DHCP_NICS ]]; then
  dns_answers() {
    getent ahostsv4 "$RACKBOX_GATEWAY" >/dev/null
  }
  wait_until "an answer of the lab's DNS for $RACKBOX_GATEWAY" "$RACKBOX_WAIT_SECONDS" dns_answers
fi

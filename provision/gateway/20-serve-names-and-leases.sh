#!/usr/bin/env bash
# Starts dnsmasq, which serves the lab's DHCP and DNS, and makes it this machine's own resolver.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=/etc/dnsmasq.d/rackbox.conf
resolver=/etc/systemd/resolved.conf.d/rackbox.conf

reload_units dnsmasq.service
if file_changed "$config" || ! systemctl is-active --quiet dnsmasq.service; then
  dnsmasq --test --conf-file="$RACKBOX_ROOT$config"
  systemctl restart dnsmasq.service
  remember_file "$config"
fi

if file_changed "$resolver"; then
  systemctl restart systemd-resolved.service
  remember_file "$resolver"
fi

# Asked past /etc/hosts, at the address where this machine itself asks.
answers() {
  dig +short +time=1 +tries=1 @127.0.0.1 "$RACKBOX_GATEWAY" | grep -q .
}
wait_until "an answer of dnsmasq for $RACKBOX_GATEWAY" 20 answers

#!/usr/bin/env bash
# Starts dnsmasq, which serves the lab's DHCP and DNS, and makes it this machine's own resolver.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=/etc/dnsmasq.d/rackbox.conf
resolver=/etc/systemd/resolved.conf.d/rackbox.conf

if file_changed "$config" || ! systemctl is-active --quiet dnsmasq.service; then
  dnsmasq --test --conf-file="$RACKBOX_ROOT$config"
  systemctl restart dnsmasq.service
  remember_file "$config"
fi

if file_changed "$resolver"; then
  systemctl restart systemd-resolved.service
  remember_file "$resolver"
fi

answers() {
  getent ahostsv4 "$RACKBOX_GATEWAY" >/dev/null
}
wait_until "dnsmasq answers for $RACKBOX_GATEWAY" 20 answers

#!/usr/bin/env bash
# Starts dnsmasq, which serves the lab's DHCP and DNS, and makes it this machine's own resolver.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=/etc/dnsmasq.d/rackbox.conf
resolver=/etc/systemd/resolved.conf.d/rackbox.conf

# A machine that has left the lab takes its lease along, and with it its name. dnsmasq must not run meanwhile.
forget_leases_of_strangers() {
  local leases=$RACKBOX_ROOT/var/lib/misc/dnsmasq.leases
  if [[ -s $leases ]]; then
    awk -F '[=, ]' 'NR == FNR { if ($1 == "dhcp-host") known[$2]; next } $2 in known' \
      "$RACKBOX_ROOT$config" "$leases" >"$leases.kept"
    cat "$leases.kept" >"$leases" # in place: it is dnsmasq's own
    rm "$leases.kept"
  fi
}

reload_units dnsmasq.service
if file_changed "$config" || ! systemctl is-active --quiet dnsmasq.service; then
  dnsmasq --test --conf-file="$RACKBOX_ROOT$config"
  systemctl stop dnsmasq.service
  forget_leases_of_strangers
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

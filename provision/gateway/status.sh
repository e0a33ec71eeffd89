#!/usr/bin/env bash
# The gateway's own facts: how many leases it has given out. Sourced by lib/status.

# shellcheck disable=SC2034 # read by the script that sources this
units=(dnsmasq.service nftables.service)

role_status() {
  local leases=0 file=/var/lib/misc/dnsmasq.leases
  if [[ -r $RACKBOX_ROOT$file ]]; then
    leases=$(wc -l <"$RACKBOX_ROOT$file")
  fi
  printf '{"leases": %d}\n' "$leases"
}

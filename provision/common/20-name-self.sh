#!/usr/bin/env bash
# Puts this machine's own name into /etc/hosts, so that it knows itself by its lab address even while DNS is away.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

hosts=$RACKBOX_ROOT/etc/hosts
marker='# rackbox: own name'

wanted=$(
  if [[ -e $hosts ]]; then
    sed "/$marker\$/d" "$hosts"
  fi
  for address in $RACKBOX_LAB_ADDRESSES; do
    printf '%s %s %s %s\n' "$address" "$RACKBOX_FQDN" "$RACKBOX_NODE" "$marker"
  done
)
if [[ ! -e $hosts || $(<"$hosts") != "$wanted" ]]; then
  printf '%s\n' "$wanted" >"$hosts.new"
  chmod 0644 "$hosts.new"
  mv "$hosts.new" "$hosts"
fi

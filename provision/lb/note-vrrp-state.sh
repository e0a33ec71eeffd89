#!/usr/bin/env bash
# Keeps keepalived's state (MASTER, BACKUP, FAULT) in a file for `status`. keepalived runs it beside itself and writes a
# line for each change into the FIFO that is its last argument: INSTANCE "name" STATE priority.
#
# A script for each change would be simpler, but two of them may overtake each other.
set -euo pipefail

while read -r _ _ state _; do
  case $state in
    # Others (MASTER_RX_LOWER_PRI, MASTER_PRIORITY, …) are something that happened, and no state.
    MASTER | BACKUP | FAULT | STOP) printf '%s\n' "$state" >"${RACKBOX_ROOT:-}/run/rackbox/vrrp-state" ;;
  esac
done <"${!#}"

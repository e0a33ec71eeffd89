#!/usr/bin/env bash
# Waits until somebody holds the floating IP: this balancer, or the other one.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

someone_answers() {
  port_answers "$RACKBOX_FLOATING_IP" "$RACKBOX_STATS_PORT"
}
wait_until "HAProxy at the floating IP $RACKBOX_FLOATING_IP" "$RACKBOX_WAIT_SECONDS" someone_answers

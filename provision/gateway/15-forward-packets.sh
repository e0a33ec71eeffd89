#!/usr/bin/env bash
# Makes this machine a router, now that the firewall is in place.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

sysctl --quiet --load="$RACKBOX_ROOT/etc/sysctl.d/61-rackbox-forward.conf"

#!/usr/bin/env bash
# Sets the kernel's network switches: reverse path filter, forwarding, redirects.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

sysctl --quiet --load="$RACKBOX_ROOT/etc/sysctl.d/60-rackbox.conf"

#!/usr/bin/env bash
# Starts the third vote of the balancers' cluster, where the lab has one.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if [[ -z $RACKBOX_QUORUM_HOST ]]; then
  exit 0
fi
options=/etc/default/corosync-qnetd
if ! systemctl is-active --quiet corosync-qnetd.service; then
  systemctl start corosync-qnetd.service
elif file_changed "$options"; then
  systemctl restart corosync-qnetd.service
fi
remember_file "$options"

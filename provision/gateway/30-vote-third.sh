#!/usr/bin/env bash
# Starts the third vote of the balancers' cluster, where the lab has one.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if [[ -z $RACKBOX_QUORUM_HOST ]]; then
  exit 0
fi
options=/etc/default/corosync-qnetd
certificate=/etc/rackbox/quorum/own.pem

if file_changed "$options" || file_changed "$certificate"; then
  "${0%/*}/../nss-database" "$RACKBOX_ROOT/etc/corosync/qnetd/nssdb" 'QNetd Cert' root:coroqnetd
  systemctl restart corosync-qnetd.service
  remember_file "$options"
  remember_file "$certificate"
elif ! systemctl is-active --quiet corosync-qnetd.service; then
  systemctl start corosync-qnetd.service
fi

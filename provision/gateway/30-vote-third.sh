#!/usr/bin/env bash
# Starts the third vote of the balancers' cluster, where the lab has one; stops it where it has none any more.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

unit=corosync-qnetd.service
if [[ -z $RACKBOX_QUORUM_HOST ]]; then
  if systemctl is-active --quiet "$unit"; then
    systemctl stop "$unit"
  fi
  exit 0
fi
options=/etc/default/corosync-qnetd
certificate=/etc/rackbox/quorum/own.pem

reload_units "$unit"
if file_changed "$options" || file_changed "$certificate"; then
  "${0%/*}/../nss-database" "$RACKBOX_ROOT/etc/corosync/qnetd/nssdb" 'QNetd Cert' root:coroqnetd
  systemctl restart "$unit"
  remember_file "$options"
  remember_file "$certificate"
elif ! systemctl is-active --quiet "$unit"; then
  systemctl start "$unit"
fi

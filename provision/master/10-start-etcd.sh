#!/usr/bin/env bash
# Starts etcd and waits until this member is part of a healthy cluster.
#
# The start does not wait by itself: etcd says that it is ready only with a majority, and the others may boot later.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"
# shellcheck source=provision/master/etcd.sh
. "${0%/*}/etcd.sh"

data=$RACKBOX_ROOT/var/lib/etcd

if [[ $(stat --format='%U %a' "$data" 2>/dev/null) != 'etcd 700' ]]; then
  install --directory --owner=etcd --group=etcd --mode=0700 "$data"
fi
# The volume outlives the machine's root, and another root may know etcd by another number.
find "$data" ! -user etcd -exec chown --no-dereference etcd:etcd {} +

changed=no
for file in /etc/default/etcd /etc/etcd/pki/node.pem /etc/etcd/pki/ca.pem; do
  if file_changed "$file"; then
    changed=yes
  fi
done

reload_units etcd.service
if ! systemctl is-active --quiet etcd.service; then
  systemctl start --no-block etcd.service
elif [[ $changed == yes ]]; then
  systemctl restart --no-block etcd.service
fi
for file in /etc/default/etcd /etc/etcd/pki/node.pem /etc/etcd/pki/ca.pem; do
  remember_file "$file"
done

wait_for_member

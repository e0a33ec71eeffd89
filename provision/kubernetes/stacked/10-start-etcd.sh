#!/usr/bin/env bash
# Lays out what an etcd needs that is a pod: a place for its data, and its certificates where kubeadm has them. They are
# of the lab's CA, as those of an etcd that is a service. The kubelet starts it (40-start-kubelet.sh).
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

pki=$RACKBOX_ROOT/etc/kubernetes/pki
own=$RACKBOX_ROOT/etc/etcd/pki

# copy MODE FROM TO: unless it is there already.
copy() {
  cmp --silent "$2" "$3" || install -D --mode="$1" "$2" "$3"
}

if systemctl is-active --quiet etcd.service; then
  systemctl stop etcd.service
fi
mkdir -p "$RACKBOX_ROOT/var/lib/etcd"
chmod 0700 "$RACKBOX_ROOT/var/lib/etcd"
copy 0644 "$own/ca.pem" "$pki/etcd/ca.crt"
for name in server peer healthcheck-client; do
  copy 0644 "$own/node.pem" "$pki/etcd/$name.crt"
  copy 0600 "$own/node.key" "$pki/etcd/$name.key"
done
copy 0644 "$pki/etcd-client.crt" "$pki/apiserver-etcd-client.crt"
copy 0600 "$pki/etcd-client.key" "$pki/apiserver-etcd-client.key"

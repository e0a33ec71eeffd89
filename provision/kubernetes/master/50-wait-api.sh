#!/usr/bin/env bash
# Waits until this master's own API server is ready, and the machine is known to the cluster as a master.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=$RACKBOX_ROOT/etc/rackbox/kubernetes/kubeadm.yaml

api_ready() {
  curl --silent --show-error --fail --max-time 5 --cacert "$RACKBOX_ROOT/etc/kubernetes/pki/ca.crt" \
    "https://$RACKBOX_ADDRESS:6443/readyz"
}
wait_until "this master's API server" "$RACKBOX_WAIT_SECONDS" api_ready

is_marked() {
  kubeadm init phase mark-control-plane --config "$config"
}
wait_until "this master's mark in the cluster" "$RACKBOX_WAIT_SECONDS" is_marked

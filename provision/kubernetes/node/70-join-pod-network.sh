#!/usr/bin/env bash
# Waits for this machine's share of the pods' addresses, hands the network to the runtime, and waits until the cluster
# calls this machine ready.
#
# The runtime gets the network only now, and anew after each boot: so "Ready" means that pods here have a network.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

conf=$RACKBOX_ROOT/run/rackbox/cni/10-flannel.conflist
pki=$RACKBOX_ROOT/var/lib/kubelet/pki

has_share() {
  [[ -s $RACKBOX_ROOT/run/flannel/subnet.env ]] && return
  tail --quiet --lines=3 "$RACKBOX_ROOT"/var/log/containers/kube-flannel-*.log 2>/dev/null
  return 1
}
wait_until "flannel's share of the pods' addresses" "$RACKBOX_WAIT_SECONDS" has_share

if ! cmp --silent "$RACKBOX_ROOT/etc/rackbox/kubernetes/cni.conflist" "$conf"; then
  install -D --mode=0644 "$RACKBOX_ROOT/etc/rackbox/kubernetes/cni.conflist" "$conf.new"
  mv "$conf.new" "$conf"
fi

# A node may read its own object.
is_ready() {
  local answer
  answer=$(curl --silent --show-error --fail --max-time 5 --cacert "$RACKBOX_ROOT/etc/kubernetes/pki/ca.crt" \
    --cert "$pki/kubelet.crt" --key "$pki/kubelet.key" "https://$RACKBOX_API/api/v1/nodes/$RACKBOX_NODE") || return
  jq --exit-status '.status.conditions[] | select(.type == "Ready") | .status == "True"' <<<"$answer" >/dev/null && return
  jq --compact-output '.status.conditions[] | select(.type == "Ready")' <<<"$answer"
  return 1
}
wait_until "$RACKBOX_NODE ready in the cluster" "$RACKBOX_WAIT_SECONDS" is_ready

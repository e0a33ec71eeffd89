#!/usr/bin/env bash
# Puts into the cluster what it needs beside the control plane: kubeadm's own configuration, CoreDNS, kube-proxy,
# flannel and MetalLB.
#
# One master does it. The others wait for its mark in the cluster, and do it themselves if it does not come: each can,
# at any time, and twice does no harm.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=$RACKBOX_ROOT/etc/rackbox/kubernetes/kubeadm.yaml
source=$RACKBOX_ROOT/etc/rackbox/kubernetes/addons
work=$RACKBOX_ROOT/run/rackbox/addons
patience=40 # seconds for each master before this one

# This master's own API server: the floating IP may lead to another.
export KUBECONFIG=$work/admin.conf

# Of the configuration without its first part, which is this master's own.
digest=$({
  sed '1,/^---$/d' "$config"
  cat "$source"/* "$RACKBOX_KUBERNETES"/manifests/*
} | sha256sum | cut --characters=1-16)

is_done() {
  [[ $(kubectl --namespace kube-system get configmap rackbox --output 'jsonpath={.data.addons}') == "$digest" ]]
}

apply() {
  kubectl apply --server-side --force-conflicts --filename - >/dev/null
}

mkdir -p "$work"
sed "s#server: .*#server: https://$RACKBOX_ADDRESS:6443#" "$RACKBOX_ROOT/etc/kubernetes/admin.conf" >"$work/admin.conf"
chmod 0600 "$work/admin.conf"

for peer in $RACKBOX_PEERS; do
  if [[ $peer == "$RACKBOX_FQDN" ]]; then
    break
  fi
  deadline=$((SECONDS + patience))
  while ((SECONDS < deadline)) && ! is_done 2>/dev/null; do
    sleep 1
  done
done
if is_done 2>/dev/null; then
  exit 0
fi

kubeadm init phase upload-config all --config "$config"
kubeadm init phase addon all --config "$config"
cp "$source"/* "$RACKBOX_KUBERNETES"/manifests/{flannel,metallb}.yaml "$work/"
kubectl kustomize "$work" | apply
if [[ -s $work/pool.yaml ]]; then
  pool_taken() {
    apply <"$work/pool.yaml"
  }
  wait_until "MetalLB's own kinds of objects" 60 pool_taken
fi
kubectl --namespace kube-system create configmap rackbox --from-literal="addons=$digest" --dry-run=client --output yaml | apply

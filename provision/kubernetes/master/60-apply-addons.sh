#!/usr/bin/env bash
# Puts into the cluster what it needs beside the control plane: kubeadm's own configuration, CoreDNS, kube-proxy,
# flannel, MetalLB, and what the lab has of storage and ingress.
#
# One master does it: the first to lay claim to it. The others wait for its mark in the cluster, and do it themselves if
# it does not come: each can, at any time, and twice does no harm.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=$RACKBOX_ROOT/etc/rackbox/kubernetes/kubeadm.yaml
source=$RACKBOX_ROOT/etc/rackbox/kubernetes/addons
work=$RACKBOX_ROOT/run/rackbox/addons
authority=$RACKBOX_ROOT/etc/kubernetes/pki/ca.crt
patience=90 # seconds for whoever has laid claim to it

# This master's own API server: the floating IP may lead to another.
export KUBECONFIG=$work/admin.conf

# Of the configuration without its first part, which is this master's own.
digest=$({
  sed '1,/^---$/d' "$config"
  cat "$source"/* "$RACKBOX_KUBERNETES"/manifests/*
} | sha256sum | cut --characters=1-16)
claim=rackbox-addons-$digest

# version_of HOST: of the API server there; empty where none answers.
version_of() {
  curl --silent --fail --max-time 2 --cacert "$authority" "https://$1:6443/version" | jq --raw-output .gitVersion
}

# In the middle of an upgrade. What belongs to the new version must wait until no API server is of the old one.
is_mixed() {
  local own peer version
  own=$(version_of "$RACKBOX_ADDRESS") || return 1
  for peer in $RACKBOX_PEERS; do
    version=$(version_of "$peer") || version=''
    if [[ -n $version && $version != "$own" ]]; then
      say "$peer has $version, this master $own: add-ons are left to the last one"
      return
    fi
  done
  return 1
}

value_of() {
  kubectl --namespace kube-system get configmap "$1" --ignore-not-found --output "jsonpath={.data.$2}"
}

is_done() {
  [[ $(value_of rackbox addons) == "$digest" ]]
}

is_claimed_here() {
  kubectl --namespace kube-system create configmap "$claim" --from-literal="by=$RACKBOX_NODE" >/dev/null ||
    [[ $(value_of "$claim" by) == "$RACKBOX_NODE" ]]
}

apply() {
  kubectl apply --server-side --force-conflicts --filename - >/dev/null
}

mkdir -p "$work"
sed "s#server: .*#server: https://$RACKBOX_ADDRESS:6443#" "$RACKBOX_ROOT/etc/kubernetes/admin.conf" >"$work/admin.conf"
chmod 0600 "$work/admin.conf"

if is_mixed; then
  exit 0
fi
deadline=$((SECONDS + patience))
until is_done 2>/dev/null || is_claimed_here 2>/dev/null || ((SECONDS > deadline)); do
  sleep 1
done
if is_done 2>/dev/null; then
  exit 0
fi

kubeadm init phase upload-config all --config "$config"
kubeadm init phase addon all --config "$config"
cp "$source"/* "$RACKBOX_KUBERNETES"/manifests/{flannel,metallb}.yaml "$work/"
kubectl kustomize "$work" | apply
if ! grep --quiet '^  - ingress.yaml$' "$work/kustomization.yaml"; then # a lab may have had it
  kubectl delete namespaces,ingressclasses,clusterroles,clusterrolebindings --selector rackbox.internal/addon=ingress \
    --ignore-not-found --wait=false >/dev/null
fi
if [[ -s $work/pool.yaml ]]; then
  pool_taken() {
    apply <"$work/pool.yaml"
  }
  wait_until "MetalLB's own kinds of objects" 60 pool_taken
fi
kubectl --namespace kube-system create configmap rackbox --from-literal="addons=$digest" --dry-run=client --output yaml | apply
kubectl --namespace kube-system delete configmap "$claim" --ignore-not-found >/dev/null

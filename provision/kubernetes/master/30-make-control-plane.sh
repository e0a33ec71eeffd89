#!/usr/bin/env bash
# Has kubeadm make this master's certificates, kubeconfigs and static pods, from the keys of the cluster's authorities
# that the machine came with. No other master is asked: all of them may do this at the same time.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=/etc/rackbox/kubernetes/kubeadm.yaml
authority=/etc/kubernetes/pki/ca.crt
kubernetes=$RACKBOX_ROOT/etc/kubernetes

phase() {
  kubeadm init phase "$@" --config "$RACKBOX_ROOT$config"
}

if ! file_changed "$config" && ! file_changed "$authority" && [[ -e $kubernetes/manifests/kube-scheduler.yaml ]]; then
  exit 0
fi
# kubeadm keeps what is there; these hold names and addresses that may have changed, or are of another authority.
rm -f "$kubernetes"/pki/{apiserver,apiserver-kubelet-client,front-proxy-client}.{crt,key}
rm -f "$kubernetes"/{admin,super-admin,controller-manager,scheduler}.conf
phase certs all
for user in admin super-admin controller-manager scheduler; do
  phase kubeconfig "$user"
done
phase control-plane all
remember_file "$config"
remember_file "$authority"

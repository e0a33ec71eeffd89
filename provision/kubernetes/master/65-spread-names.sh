#!/usr/bin/env bash
# Has the cluster's DNS outlive a master: kubeadm's two CoreDNS pods would both start on the first node that is there,
# and one that has been restarted would count as ready up to ten seconds later only. Each master asks for it; the first
# changes something.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

# 60-apply-addons.sh has made it: it leads to this master's own API server.
export KUBECONFIG=$RACKBOX_ROOT/run/rackbox/addons/admin.conf

spread=''
if [[ $RACKBOX_PEERS == *' '* ]]; then # one node has nowhere to spread to
  spread=', "topologySpreadConstraints": [{"maxSkew": 1, "minDomains": 2, "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    "matchLabelKeys": ["pod-template-hash"]}]'
fi

is_spread() {
  kubectl --namespace kube-system patch deployment coredns --patch '{"spec": {"template": {"spec": {
    "containers": [{"name": "coredns", "readinessProbe": {"periodSeconds": 1}}]'"$spread"'}}}}'
}
wait_until "the cluster's DNS spread over nodes" "$RACKBOX_WAIT_SECONDS" is_spread

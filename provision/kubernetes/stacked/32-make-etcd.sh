#!/usr/bin/env bash
# Has kubeadm make the manifest of this master's etcd. kubeadm itself would found a cluster of one here and have the
# others join it, one after the other: these masters are told of each other, and boot in any order.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"
# shellcheck source=provision/master/etcd.sh
. "${0%/*}/etcd.sh"

config=$RACKBOX_ROOT/etc/rackbox/kubernetes/kubeadm.yaml
manifest=$RACKBOX_ROOT/etc/kubernetes/manifests/etcd.yaml
made=$RACKBOX_ROOT/var/lib/rackbox/etcd-made-from

# Where the balancers ask it, and whom a cluster is founded with; a member that joins one has been told by
# 05-join-etcd.sh who is there.
# shellcheck source=/dev/null
. "$RACKBOX_ROOT/etc/default/etcd"
if cmp --silent "$config" "$made" && [[ ! -e $joining ]] &&
  grep --quiet --no-messages --fixed-strings "$ETCD_LISTEN_METRICS_URLS" "$manifest"; then
  exit 0
fi
if [[ -e $joining ]]; then
  # shellcheck source=/dev/null
  . "$joining"
fi
told=$(mktemp)
trap 'rm -f "$told"' EXIT
sed "/^    extraArgs:\$/a\\
      - {name: listen-metrics-urls, value: \"$ETCD_LISTEN_METRICS_URLS\"}\\
      - {name: initial-cluster, value: \"$ETCD_INITIAL_CLUSTER\"}\\
      - {name: initial-cluster-state, value: \"$ETCD_INITIAL_CLUSTER_STATE\"}" "$config" >"$told"
kubeadm init phase etcd local --config "$told"
install -D --mode=0600 "$config" "$made"

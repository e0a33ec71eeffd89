#!/usr/bin/env bash
# Starts the kubelet. It goes on trying by itself until the API answers.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

mkdir -p "$RACKBOX_ROOT/etc/kubernetes/manifests"
keep_running kubelet.service /var/lib/kubelet/config.yaml /etc/systemd/system/kubelet.service \
  /etc/kubernetes/kubelet.conf /var/lib/kubelet/pki/kubelet.crt

#!/usr/bin/env bash
# Starts the kubelet. It goes on trying by itself until the API answers.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

files=(/var/lib/kubelet/config.yaml /etc/systemd/system/kubelet.service /etc/kubernetes/kubelet.conf
  /var/lib/kubelet/pki/kubelet.crt)

mkdir -p "$RACKBOX_ROOT/etc/kubernetes/manifests"
changed=no
for file in "${files[@]}"; do
  if file_changed "$file"; then
    changed=yes
  fi
done
reload_units kubelet.service
if ! systemctl is-active --quiet kubelet.service; then
  systemctl start kubelet.service
elif [[ $changed == yes ]]; then
  systemctl restart kubelet.service
fi
for file in "${files[@]}"; do
  remember_file "$file"
done

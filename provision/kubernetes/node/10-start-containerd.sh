#!/usr/bin/env bash
# Starts the container runtime, with the settings that a kubelet wants.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

files=(/etc/containerd/config.toml /etc/systemd/system/containerd.service.d/rackbox.conf)

changed=no
for file in "${files[@]}"; do
  if file_changed "$file"; then
    changed=yes
  fi
done
reload_units containerd.service
if ! systemctl is-active --quiet containerd.service; then
  systemctl start containerd.service
elif [[ $changed == yes ]]; then
  systemctl restart containerd.service
fi
for file in "${files[@]}"; do
  remember_file "$file"
done

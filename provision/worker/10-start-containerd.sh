#!/usr/bin/env bash
# Starts the container runtime.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if ! systemctl is-active --quiet containerd.service; then
  systemctl start containerd.service
fi

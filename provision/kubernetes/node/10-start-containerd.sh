#!/usr/bin/env bash
# Starts the container runtime, with the settings that a kubelet wants.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

keep_running containerd.service /etc/containerd/config.toml /etc/systemd/system/containerd.service.d/rackbox.conf

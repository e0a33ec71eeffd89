#!/usr/bin/env bash
# A worker's own facts: its storage and its container runtime. Sourced by lib/status.

# shellcheck disable=SC2034 # read by the script that sources this
units=(containerd.service)

role_status() {
  local mounted=false runtime=false
  # Bounded: a mount whose servers are gone may not answer.
  if [[ -n $RACKBOX_GLUSTER_MOUNT ]] && timeout "$((500 * ${patience:-1}))e-3" mountpoint --quiet "$RACKBOX_GLUSTER_MOUNT"; then
    mounted=true
  fi
  if [[ -S /run/containerd/containerd.sock ]]; then
    runtime=true
  fi
  printf '{"gluster_mounted": %s, "containerd": %s}\n' "$mounted" "$runtime"
}

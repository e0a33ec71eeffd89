#!/usr/bin/env bash
# Mounts the lab's Gluster volume, if the lab has one; tries again until the volume is there.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if [[ -z $RACKBOX_GLUSTER_MOUNT ]]; then
  exit 0
fi
unit=$(systemd-escape --path --suffix=mount "$RACKBOX_GLUSTER_MOUNT")

some_server_answers() {
  local server
  for server in $RACKBOX_GLUSTER_SERVERS; do
    if port_answers "$server" 24007; then
      return
    fi
  done
  return 1
}

# The start of a mount unit may succeed and the mount be gone a moment later, when the volume is not there yet.
mounted() {
  mountpoint --quiet "$RACKBOX_GLUSTER_MOUNT" && return
  systemctl start "$unit"
  mountpoint "$RACKBOX_GLUSTER_MOUNT"
}

mkdir -p "$RACKBOX_ROOT$RACKBOX_GLUSTER_MOUNT"
wait_until "a Gluster server's answer" "$RACKBOX_WAIT_SECONDS" some_server_answers
reload_units "$unit"
wait_until "$RACKBOX_GLUSTER_MOUNT mounted" "$RACKBOX_WAIT_SECONDS" mounted

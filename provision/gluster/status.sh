#!/usr/bin/env bash
# A Gluster server's own facts. Sourced by lib/status.
#
# All of it is read on this machine: `gluster volume status` and `volume heal` would take the pool's lock and seconds.

# shellcheck disable=SC2034 # read by the script that sources this
units=(glusterd.service)

role_status() {
  local brick=$RACKBOX_GLUSTER_BRICK/$RACKBOX_GLUSTER_VOLUME peers=0 online=0 pending=0
  peers=$(timeout 1 gluster --mode=script pool list 2>/dev/null | grep -v localhost | grep -c -w Connected) || peers=0
  if pgrep --full "glusterfsd .*--brick-name $brick" >/dev/null; then
    online=1
  fi
  # The self-heal index: one entry for each file to heal, beside the base file that they are links of.
  pending=$(find "$brick/.glusterfs/indices/xattrop" -type f ! -name 'xattrop-*' 2>/dev/null | wc -l) || pending=0
  printf '{"peers_connected": %d, "bricks_online": %d, "heal_pending": %d}\n' "$peers" "$online" "$pending"
}

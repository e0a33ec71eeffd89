#!/usr/bin/env bash
# A Gluster server's own facts. Sourced by lib/status.
#
# All of it is read on this machine: `gluster volume status` and `volume heal` would take the pool's lock and seconds.

# shellcheck disable=SC2034 # read by the script that sources this
units=(glusterd.service)

role_status() {
  local brick=$RACKBOX_GLUSTER_BRICK/$RACKBOX_GLUSTER_VOLUME peers=null online=0 pending=0 pool
  # No answer in time is no answer: it does not mean that there are no peers.
  if pool=$(timeout 3 gluster --mode=script pool list 2>/dev/null); then
    peers=$(grep -v localhost <<<"$pool" | grep -c -w Connected) || peers=0
  fi
  if pgrep --full "glusterfsd .*--brick-name $brick" >/dev/null; then
    online=1
  fi
  # The self-heal index: one entry for each file to heal, beside the base file that they are links of.
  pending=$(find "$brick/.glusterfs/indices/xattrop" -type f ! -name 'xattrop-*' 2>/dev/null | wc -l) || pending=0
  printf '{"peers_connected": %s, "bricks_online": %d, "heal_pending": %d}\n' "$peers" "$online" "$pending"
}

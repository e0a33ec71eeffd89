#!/usr/bin/env bash
# A Gluster server's own facts. Sourced by lib/status.
#
# All of it is read on this machine: `gluster volume status` and `volume heal` would take the pool's lock and seconds.

# shellcheck disable=SC2034 # read by the script that sources this
units=(glusterd.service)

# The brick's thin pool, where it lies in one: how full its data and its metadata are. The kernel says it without LVM,
# which would take a second where machines are emulated (dm-thin: "… <metadata used>/<all> <data used>/<all> …").
pool_usage() {
  local pool=/dev/mapper/rackbox_brick-pool-tpool
  if [[ -e ${RACKBOX_ROOT:-}$pool ]]; then
    dmsetup status "${pool##*/}" | awk '
      { split($5, metadata, "/"); split($6, data, "/") }
      data[2] && metadata[2] {
        printf ", \"pool_data_percent\": %.1f, \"pool_metadata_percent\": %.1f", 100 * data[1] / data[2],
          100 * metadata[1] / metadata[2]
      }'
  fi
}

role_status() {
  local brick=$RACKBOX_GLUSTER_BRICK/$RACKBOX_GLUSTER_VOLUME peers online=0 pending=0
  # glusterd keeps one connection to each peer's port 24007 (`gluster pool list` says no more, for a quarter of a second
  # of processor time).
  peers=$(
    ss --no-header --numeric --tcp state established dport = :24007 | awk '{ print $4 }' |
      grep --invert-match --fixed-strings --regexp="$RACKBOX_ADDRESS:" --regexp=127.0.0.1: | sort --unique | wc -l
  ) || peers=0
  if pgrep --full "glusterfsd .*--brick-name $brick" >/dev/null; then
    online=1
  fi
  # The self-heal index: one entry for each file to heal, beside the base file that they are links of.
  pending=$(find "$brick/.glusterfs/indices/xattrop" -type f ! -name 'xattrop-*' 2>/dev/null | wc -l) || pending=0
  printf '{"peers_connected": %d, "bricks_online": %d, "heal_pending": %d%s}\n' "$peers" "$online" "$pending" \
    "$(pool_usage)"
}

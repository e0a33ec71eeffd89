#!/usr/bin/env bash
# Creates the lab's replicated volume on all servers' bricks and starts it; the first server does, the others wait.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if [[ -z $RACKBOX_GLUSTER_VOLUME ]]; then
  exit 0
fi
read -r -a servers <<<"$RACKBOX_GLUSTER_SERVERS"
brick=$RACKBOX_GLUSTER_BRICK/$RACKBOX_GLUSTER_VOLUME
mkdir -p "$RACKBOX_ROOT$brick"

volume_field() {
  gluster --mode=script volume info "$RACKBOX_GLUSTER_VOLUME" 2>/dev/null | sed -n "s/^$1: *//p"
}

# A client writes only where a majority of copies is. It gives up a server whose kernel has not acknowledged what was
# sent to it for 3 s (TCP_USER_TIMEOUT, tcp(7)), and one that lives but does not answer after 5 to 10 s: Gluster's ping
# (default 42 s) goes out every ping-timeout and is waited for as long. A server that comes back is healed at once; what
# could not be healed then is tried again every heal-timeout (default 600 s).
options=(client.tcp-user-timeout 3 network.ping-timeout 5 cluster.quorum-type auto cluster.server-quorum-type none
  performance.client-io-threads on cluster.heal-timeout 10)

create_volume() {
  # "force": the brick may be a plain directory of the root file system, as it is in a system container.
  [[ -n $(volume_field Status) ]] ||
    gluster --mode=script volume create "$RACKBOX_GLUSTER_VOLUME" replica 3 "${servers[@]/%/:$brick}" force
}

set_options() {
  [[ $(volume_field cluster.heal-timeout) == 10 ]] ||
    gluster --mode=script volume set "$RACKBOX_GLUSTER_VOLUME" "${options[@]}"
}

start_volume() {
  [[ $(volume_field Status) == Started ]] || gluster --mode=script volume start "$RACKBOX_GLUSTER_VOLUME"
}

# Directories may have a limit to their size. A brick asks at each write what they hold: by default it would go by what
# it heard up to a minute ago, and let through whatever is written meanwhile.
limit_directories() {
  local kind
  [[ $(volume_field features.quota) == on ]] ||
    gluster --mode=script volume quota "$RACKBOX_GLUSTER_VOLUME" enable || return
  for kind in soft-timeout hard-timeout; do
    [[ $(volume_field "features.$kind") == 0 ]] ||
      gluster --mode=script volume quota "$RACKBOX_GLUSTER_VOLUME" "$kind" 0 || return
  done
}

# Each step is tried again for a while: glusterd refuses one while another server holds the pool's lock.
if [[ $RACKBOX_FQDN == "${servers[0]}" ]]; then
  wait_until "volume $RACKBOX_GLUSTER_VOLUME created" 60 create_volume
  wait_until "volume $RACKBOX_GLUSTER_VOLUME configured" 60 set_options
  wait_until "volume $RACKBOX_GLUSTER_VOLUME started" 60 start_volume
  if [[ -n $RACKBOX_GLUSTER_QUOTA ]]; then
    wait_until "limits for directories of volume $RACKBOX_GLUSTER_VOLUME" 60 limit_directories
  fi
fi

brick_online() {
  [[ $(volume_field Status) == Started ]] && pgrep --full "glusterfsd .*--brick-name $brick" >/dev/null
}
wait_until "this server's brick online" "$RACKBOX_WAIT_SECONDS" brick_online

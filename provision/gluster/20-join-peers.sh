#!/usr/bin/env bash
# Makes one pool of all Gluster servers. The first server invites the others; they wait to be invited.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

read -r -a servers <<<"$RACKBOX_GLUSTER_SERVERS"

connected() {
  local count
  count=$(gluster --mode=script pool list | grep -c -w Connected) || count=0
  printf '%s of %s servers connected\n' "$count" "${#servers[@]}"
  ((count == ${#servers[@]}))
}

is_peer() {
  gluster --mode=script pool list | grep -q -w -F "$1"
}

invite() {
  is_peer "$1" || gluster --mode=script peer probe "$1"
}

if [[ $RACKBOX_FQDN == "${servers[0]}" ]]; then
  for server in "${servers[@]:1}"; do
    wait_until "glusterd of $server" "$RACKBOX_WAIT_SECONDS" port_answers "$server" 24007
    wait_until "$server in the pool" 60 invite "$server"
  done
fi
wait_until "all Gluster servers in the pool" "$RACKBOX_WAIT_SECONDS" connected

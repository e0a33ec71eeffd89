#!/usr/bin/env bash
# Starts glusterd once every server's name is known: it refuses to start with a brick whose name it cannot resolve.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

for server in $RACKBOX_GLUSTER_SERVERS; do
  wait_until "the address of $server" "$RACKBOX_WAIT_SECONDS" getent ahostsv4 "$server"
done

if ! systemctl is-active --quiet glusterd.service; then
  systemctl start glusterd.service
fi

glusterd_answers() {
  gluster --mode=script pool list
}
wait_until "glusterd's answer" 30 glusterd_answers

#!/usr/bin/env bash
# Starts HAProxy, or has it take a changed configuration over without dropping a connection.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=/etc/haproxy/haproxy.cfg

haproxy -c -q -f "$RACKBOX_ROOT$config"
reload_units haproxy.service
if ! systemctl is-active --quiet haproxy.service; then
  systemctl start haproxy.service
  remember_file "$config"
elif file_changed "$config"; then
  systemctl reload haproxy.service
  remember_file "$config"
fi

health_answers() {
  curl --silent --show-error --fail --max-time 1 --output /dev/null "http://127.0.0.1:$RACKBOX_HEALTH_PORT/health"
}
wait_until "HAProxy's own health" 20 health_answers

#!/usr/bin/env bash
# Starts HAProxy, or has it take a changed configuration over without dropping a connection; then what watches it.
#
# Where HAProxy goes with the floating IP, the cluster starts it, on one balancer.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

config=/etc/haproxy/haproxy.cfg
watch=rackbox-watch-haproxy.service

haproxy -c -q -f "$RACKBOX_ROOT$config"
reload_units haproxy.service
if systemctl is-active --quiet haproxy.service; then
  if file_changed "$config"; then
    systemctl reload haproxy.service
  fi
elif [[ $RACKBOX_HAPROXY_ON == both ]]; then
  systemctl start haproxy.service
fi
remember_file "$config"

# What is watched with: both files stand for the version that runs.
watch_files=("/etc/systemd/system/$watch" /usr/local/lib/rackbox/lb/watch_haproxy.py)
if [[ -z $RACKBOX_WATCH_HAPROXY ]]; then
  if systemctl is-active --quiet "$watch"; then
    systemctl stop "$watch"
  fi
else
  reload_units "$watch"
  if ! systemctl is-active --quiet "$watch"; then
    systemctl start "$watch"
  elif file_changed "${watch_files[0]}" || file_changed "${watch_files[1]}"; then
    systemctl restart "$watch"
  fi
  remember_file "${watch_files[0]}"
  remember_file "${watch_files[1]}"
fi

health_answers() {
  curl --silent --show-error --fail --max-time 1 --output /dev/null "http://127.0.0.1:$RACKBOX_HEALTH_PORT/health"
}
if [[ $RACKBOX_HAPROXY_ON == both ]]; then
  wait_until "HAProxy's own health" 20 health_answers
fi

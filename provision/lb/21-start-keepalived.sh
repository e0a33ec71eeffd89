#!/usr/bin/env bash
# Starts keepalived, or has it take a changed configuration over. Nothing to do where Pacemaker keeps the floating IP.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if [[ $RACKBOX_HA != keepalived ]]; then
  exit 0
fi
config=/etc/keepalived/keepalived.conf
firewall=/etc/rackbox/vrrp.nft

keepalived --config-test --use-file="$RACKBOX_ROOT$config"
reload_units keepalived.service
if ! systemctl is-active --quiet keepalived.service; then
  systemctl start keepalived.service
elif file_changed "$config" || file_changed "$firewall"; then
  # A reload would keep adverts of the old rhythm for a moment, and the other balancer's patience is short.
  systemctl restart keepalived.service
fi
remember_file "$config"
remember_file "$firewall"

#!/usr/bin/env bash
# Starts keepalived, or has it take a changed configuration over. Nothing to do where Pacemaker keeps the floating IP.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

unit=keepalived.service
config=/etc/keepalived/keepalived.conf
firewall=/etc/rackbox/vrrp.nft

if [[ $RACKBOX_HA != keepalived ]]; then
  exit 0
fi

keepalived --config-test --use-file="$RACKBOX_ROOT$config"
reload_units "$unit"
if ! systemctl is-active --quiet "$unit"; then
  systemctl start "$unit" # it loads the firewall's table first
else
  if file_changed "$firewall"; then
    nft --file "$RACKBOX_ROOT$firewall"
  fi
  if file_changed "$config"; then
    # Two balancers of two minds get along meanwhile: each takes the rhythm of the adverts from those that it hears.
    systemctl reload "$unit"
  fi
fi
remember_file "$config"
remember_file "$firewall"

#!/usr/bin/env bash
# Loads the firewall and NAT rules, now and at every boot before the network is up.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if ! systemctl is-enabled --quiet nftables.service; then
  systemctl enable --quiet nftables.service
fi

# A reload is one nft transaction, so there is no moment without rules.
if file_changed /etc/nftables.conf || ! systemctl is-active --quiet nftables.service; then
  systemctl reload-or-restart nftables.service
  remember_file /etc/nftables.conf
fi

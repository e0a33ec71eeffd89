#!/usr/bin/env bash
# Stops the programs that keep the floating IP no more, after the lab's `ha` was changed.
#
# Before anything else of a balancer's: Pacemaker stops HAProxy when it goes, and two stacks would fight over the address.
set -euo pipefail

case $RACKBOX_HA in
  pacemaker) others=(keepalived.service) ;;
  *) others=(pacemaker.service corosync-qdevice.service corosync.service) ;;
esac
for unit in "${others[@]}"; do
  if systemctl is-active --quiet "$unit"; then
    systemctl stop "$unit"
  fi
done

#!/usr/bin/env bash
# Starts Corosync and Pacemaker with the lab's cluster configuration.
#
# At the first start the configuration is put where Pacemaker looks for it, the same on both balancers; later a
# changed one replaces the running one.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if [[ $RACKBOX_HA != pacemaker ]]; then
  exit 0
fi
wanted=/etc/rackbox/cib.xml
corosync=/etc/corosync/corosync.conf
certificate=/etc/rackbox/quorum/own.pem
live=$RACKBOX_ROOT/var/lib/pacemaker/cib/cib.xml

# A library to preload into Pacemaker's daemons; a box from before there was a compiler in it does without. tcc is small,
# and leaves the daemons' stacks executable: outside of a lab, take a compiler that does not.
compile_cut_waits() {
  local state=$RACKBOX_ROOT/var/lib/rackbox source=${0%/*}/cut-waits.c
  if [[ $state/cut-waits.so -nt $source ]] || ! command -v tcc >/dev/null; then
    return
  fi
  tcc -shared -nostdlib -o "$state/cut-waits.so.part" "$source"
  mv "$state/cut-waits.so.part" "$state/cut-waits.so"
  echo 'LD_PRELOAD=/var/lib/rackbox/cut-waits.so' >"$state/cut-waits.env"
}

if [[ ! -e $live ]]; then
  install --owner=hacluster --group=haclient --mode=0600 "$RACKBOX_ROOT$wanted" "$live"
  remember_file "$wanted"
fi

if [[ -n $RACKBOX_QUORUM_HOST ]] && file_changed "$certificate"; then
  "${0%/*}/../nss-database" "$RACKBOX_ROOT/etc/corosync/qdevice/net/nssdb" 'Cluster Cert' root:root
  if systemctl is-active --quiet corosync-qdevice.service; then
    systemctl restart corosync-qdevice.service
  fi
  remember_file "$certificate"
fi

if systemctl is-active --quiet corosync.service && file_changed "$corosync"; then
  # Everything that Corosync carries goes down and comes back with it.
  systemctl stop pacemaker.service corosync-qdevice.service corosync.service
fi
if [[ -n $RACKBOX_CUT_WAITS ]]; then
  compile_cut_waits
fi
reload_units pacemaker.service corosync-qdevice.service
if ! systemctl is-active --quiet pacemaker.service; then
  systemctl start corosync.service
  if [[ -n $RACKBOX_QUORUM_HOST ]]; then
    systemctl start --no-block corosync-qdevice.service # it waits for the gateway by itself
  fi
  systemctl start pacemaker.service
fi
remember_file "$corosync"

cluster_answers() {
  cibadmin --query --scope crm_config >/dev/null
}
wait_until "Pacemaker's answer" 60 cluster_answers

if file_changed "$wanted"; then
  for scope in crm_config resources constraints; do
    sed -n "/<$scope>/,/<\/$scope>/p" "$RACKBOX_ROOT$wanted" |
      cibadmin --replace --scope "$scope" --xml-pipe
  done
  remember_file "$wanted"
fi

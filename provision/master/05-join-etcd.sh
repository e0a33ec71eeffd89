#!/usr/bin/env bash
# Makes this machine a member of the etcd that the other masters have, if it is none: one that the lab got later, or
# whose data is lost. It comes as a learner, of which etcd takes one at a time, and gets its vote once it has caught up
# (10-start-etcd.sh).
#
# Where no other master answers, each starts with the data that it has, and those that the lab was made with found a
# cluster.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"
# shellcheck source=provision/master/etcd.sh
. "${0%/*}/etcd.sh"

data=$RACKBOX_ROOT/var/lib/etcd/data

if etcd_runs; then
  exit 0
fi
if ! find_cluster 2>/dev/null; then
  if [[ -d $data/member || $RACKBOX_ETCD_FOUNDS == yes ]]; then
    exit 0
  fi
  wait_until "an etcd to join (of: $RACKBOX_PEERS)" "$RACKBOX_WAIT_SECONDS" find_cluster
  find_cluster
fi

id=$(own_entry ID)
if [[ -d $data/member ]]; then
  if [[ -n $id ]]; then
    exit 0
  fi
  say "this member was taken out of the cluster: its data is put aside as $data.old"
  rm -rf "$data.old"
  mv "$data" "$data.old"
elif [[ -n $id && $(own_entry isLearner) != true ]]; then
  if [[ -z $(own_entry name) ]]; then
    exit 0 # a founder that has not started yet
  fi
  say "this member's data is lost: it joins again"
  ask_members "$voice" remove "{\"ID\": \"$id\"}" >/dev/null
  id=
fi

# Under an address that it had before it would never come back.
for stale in $(jq --raw-output --arg own "$own_peer" --arg name "$RACKBOX_NODE" \
  '.members[] | select(.name == $name and .peerURLs != [$own]) | .ID' <<<"$members"); do
  ask_members "$voice" remove "{\"ID\": \"$stale\"}" >/dev/null
done

enlist() {
  find_cluster && ask_members "$voice" add "{\"peerURLs\": [\"$own_peer\"], \"isLearner\": true}"
}
if [[ -z $id ]]; then
  wait_until "a place as a learner" "$RACKBOX_WAIT_SECONDS" enlist
  find_cluster
fi
# A member that has not started yet has no name.
everybody=$(jq --raw-output --arg own "$own_peer" --arg name "$RACKBOX_NODE" '[.members[] |
  "\(if .peerURLs == [$own] then $name elif .name then .name else .ID end)=\(.peerURLs[0])"] | join(",")' <<<"$members")
mkdir -p "${joining%/*}"
printf 'ETCD_INITIAL_CLUSTER_STATE=existing\nETCD_INITIAL_CLUSTER=%s\n' "$everybody" >"$joining"

#!/usr/bin/env bash
# What the masters' hooks ask of etcd, by its JSON gateway. Sourced by them; it acts on nothing by itself.

# shellcheck disable=SC2034 # read by the scripts that source this
own_peer=https://$RACKBOX_ADDRESS:2380
# What a member that joins is told beside /etc/default/etcd; gone once it has a vote.
joining=$RACKBOX_ROOT/var/lib/etcd/joining

# etcd_runs: whoever starts it here, the kubelet or systemd.
etcd_runs() {
  if [[ ${RACKBOX_ETCD-} == pod ]]; then
    pgrep --full '^etcd --' >/dev/null
  else
    systemctl is-active --quiet etcd.service
  fi
}

# wait_for_member: until this member has its vote, and is part of a healthy cluster.
wait_for_member() {
  if [[ -e $joining ]]; then
    wait_until "this member's vote" "$RACKBOX_WAIT_SECONDS" promote
  fi
  wait_until "a healthy etcd (a majority of: $RACKBOX_PEERS)" "$RACKBOX_WAIT_SECONDS" member_healthy
  rm -f "$joining"
}

# Refused until it has caught up.
promote() {
  find_cluster || return
  [[ $(own_entry isLearner) != true ]] || ask_members "$voice" promote "{\"ID\": \"$(own_entry ID)\"}"
}

member_healthy() {
  curl --silent --show-error --fail --max-time 3 --cacert /etc/etcd/pki/ca.pem \
    --cert /etc/etcd/pki/node.pem --key /etc/etcd/pki/node.key https://127.0.0.1:2379/health
}

# ask_members HOST WHAT JSON: what etcd there says; its words of refusal are the error output.
ask_members() {
  local answer
  if answer=$(curl --silent --show-error --fail-with-body --connect-timeout 0.3 --max-time 3 \
    --cacert /etc/etcd/pki/ca.pem --cert /etc/etcd/pki/node.pem --key /etc/etcd/pki/node.key \
    --data "$3" "https://$1:2379/v3/cluster/member/$2"); then
    printf '%s\n' "$answer"
  else
    printf '%s\n' "$answer" >&2
    return 1
  fi
}

# find_cluster: `voice` is another master that speaks for a majority, `members` the list that it gives.
find_cluster() {
  local peer
  for peer in $RACKBOX_PEERS; do
    [[ $peer != "$RACKBOX_FQDN" ]] || continue
    members=$(ask_members "$peer" list '{"linearizable": true}') || continue
    if jq --exit-status '.members | length > 0' <<<"$members" >/dev/null; then
      voice=$peer
      return
    fi
  done
  echo "no etcd of another master answers for a majority" >&2
  return 1
}

# own_entry FIELD: of this machine in `members`; empty where it is not there, or has no such field.
own_entry() {
  jq --raw-output --arg own "$own_peer" --arg field "$1" \
    '.members[] | select(.peerURLs == [$own]) | .[$field] // empty' <<<"$members"
}

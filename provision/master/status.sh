#!/usr/bin/env bash
# The masters' own facts: what this etcd member says of itself and its cluster. Sourced by lib/status.

# shellcheck disable=SC2034 # read by the script that sources this
units=(etcd.service)

# etcd's own JSON gateway; one process and one connection for both questions.
role_status() {
  local answers
  answers=$(
    curl --silent --max-time "${patience:-1}" --cacert /etc/etcd/pki/ca.pem \
      --cert /etc/etcd/pki/node.pem --key /etc/etcd/pki/node.key \
      --data '{}' https://127.0.0.1:2379/v3/maintenance/status \
      --next --silent --max-time "${patience:-1}" --cacert /etc/etcd/pki/ca.pem \
      --cert /etc/etcd/pki/node.pem --key /etc/etcd/pki/node.key \
      --data '{"linearizable": false}' https://127.0.0.1:2379/v3/cluster/member/list
  ) || answers=''
  # Two objects, one after the other; an etcd that does not answer leaves none.
  jq --slurp --compact-output '
    (.[0] // {}) as $status | (.[1] // {}) as $list |
    {
      etcd_healthy: (($status.leader // "0") != "0" and ($status.errors // []) == []),
      leader: ($status.leader != null and $status.leader == $status.header.member_id),
      members: ($list.members // [] | map(select(.isLearner != true)) | length)
    }' <<<"$answers"
}

#!/usr/bin/env bash
# A cluster node's own facts, beside those of its role. Sourced by lib/status.

# shellcheck source=/dev/null disable=SC2154 # lib/status says where the library is
. "$library/$RACKBOX_ROLE/plain-status.sh"
if [[ ${RACKBOX_ETCD-} == pod ]]; then # etcd is no unit here
  units=()
fi
units+=(kubelet.service)
if [[ $RACKBOX_ROLE == master ]]; then
  units+=(containerd.service)
fi
if [[ ${RACKBOX_RUNTIME-} == docker ]]; then
  units+=(docker.service cri-docker.service)
fi
eval "plain_$(declare -f role_status)"

# ask PATH: the API, as a user that may read all.
ask() {
  curl --silent --fail --max-time "$((2 * ${patience:-1}))" --cacert "$RACKBOX_ROOT/etc/kubernetes/pki/ca.crt" \
    --cert "$RACKBOX_ROOT/etc/kubernetes/pki/status.crt" --key "$RACKBOX_ROOT/etc/kubernetes/pki/status.key" \
    "https://$RACKBOX_ADDRESS:6443$1"
}

# What this master's API server says: is it ready, which nodes are, and which pods are not.
view_of_cluster() {
  local ready=false nodes='' pods=''
  if [[ $(ask /readyz) == ok ]]; then
    ready=true
    nodes=$(ask '/api/v1/nodes?resourceVersion=0') || nodes=''
    pods=$(ask '/api/v1/pods?resourceVersion=0') || pods=''
  fi
  printf '%s\n%s\n' "${nodes:-null}" "${pods:-null}" | jq --slurp --compact-output --argjson ready "$ready" '
    def condition($type): .status.conditions // [] | any(.type == $type and .status == "True");
    (.[1].items // [] | map(select(.status.phase != "Succeeded"))) as $pods |
    {
      api_ready: $ready,
      nodes: (.[0].items // [] | map({key: .metadata.name, value: condition("Ready")}) | from_entries),
      pods: ($pods | length),
      pods_waiting: ($pods | map(select(condition("Ready") | not) | "\(.metadata.namespace)/\(.metadata.name)") | sort)
    }'
}

# Whether Docker Engine answers, where it runs the containers.
view_of_docker() {
  local answers=false
  if [[ $(curl --silent --fail --max-time "${patience:-1}" --unix-socket "$RACKBOX_ROOT/run/docker.sock" \
    http://docker/_ping) == OK ]]; then
    answers=true
  fi
  printf '{"docker": %s}\n' "$answers"
}

role_status() {
  {
    plain_role_status
    if [[ $RACKBOX_ROLE == master ]]; then
      view_of_cluster
    fi
    if [[ ${RACKBOX_RUNTIME-} == docker ]]; then
      view_of_docker
    fi
  } | jq --slurp --compact-output 'add'
}

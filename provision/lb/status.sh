#!/usr/bin/env bash
# The balancers' own facts: the cluster's view and HAProxy's. Sourced by lib/status.

# shellcheck disable=SC2034 # read by the script that sources this
units=(haproxy.service corosync.service pacemaker.service)

role_status() {
  local holds=false quorate=false online='' view backends
  if [[ -n $(ip -4 -oneline address show to "$RACKBOX_FLOATING_IP/32") ]]; then
    holds=true
  fi
  if view=$(timeout 2 crm_mon --one-shot --include=none,dc,nodes --output-as=xml 2>/dev/null); then
    if [[ $view == *'with_quorum="true"'* ]]; then
      quorate=true
    fi
    online=$(sed -n 's/.*<node name="\([^"]*\)".* online="true".*/\1/p' <<<"$view")
  fi
  backends=$(
    echo 'show stat' |
      timeout 1 socat - "UNIX-CONNECT:$RACKBOX_ROOT/run/haproxy/admin.sock" 2>/dev/null |
      cut --delimiter=, --fields=1,2,18
  ) || backends=''
  jq --null-input --compact-output --argjson holds "$holds" --argjson quorate "$quorate" \
    --arg online "$online" --arg backends "$backends" '
    {
      holds_vip: $holds,
      quorate: $quorate,
      online: ($online | split("\n") | map(select(. != "")) | sort),
      haproxy_backends: (
        $backends | split("\n") | map(split(","))
        | map(select(length == 3 and .[1] != "FRONTEND" and .[1] != "BACKEND" and (.[0] | startswith("#") | not)))
        | map({key: "\(.[0])/\(.[1])", value: .[2]}) | from_entries
      )
    }'
}

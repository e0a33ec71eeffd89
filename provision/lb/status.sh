#!/usr/bin/env bash
# The balancers' own facts: the floating IP's stack and HAProxy. Sourced by lib/status.

holds=false
if [[ -n $(ip -4 -oneline address show to "$RACKBOX_FLOATING_IP/32") ]]; then
  holds=true
fi

# shellcheck disable=SC2034 # read by the script that sources this
case $RACKBOX_HA in
  keepalived) units=(keepalived.service) ;;
  *) units=(corosync.service pacemaker.service) ;;
esac
if [[ -n $RACKBOX_QUORUM_HOST ]]; then
  units+=(corosync-qdevice.service)
fi
# Where HAProxy goes with the floating IP, a balancer that stands by has none.
if [[ $RACKBOX_HAPROXY_ON == both || $holds == true ]]; then
  units+=(haproxy.service)
fi
if [[ -n $RACKBOX_WATCH_HAPROXY ]]; then
  units+=(rackbox-watch-haproxy.service)
fi

# The stack's view, as one JSON object.
view_of_keepalived() {
  local vrrp=''
  if [[ -r $RACKBOX_ROOT/run/rackbox/vrrp-state ]]; then
    vrrp=$(<"$RACKBOX_ROOT/run/rackbox/vrrp-state")
  fi
  printf '{"vrrp": "%s"}\n' "$vrrp"
}

view_of_pacemaker() {
  local view quorate=false third_vote=null online=''
  if view=$(timeout "$((2 * ${patience:-1}))" crm_mon --one-shot --include=none,dc,nodes --output-as=xml 2>/dev/null); then
    if [[ $view == *'with_quorum="true"'* ]]; then
      quorate=true
    fi
    online=$(sed -n 's/.*<node name="\([^"]*\)".* online="true".*/\1/p' <<<"$view")
  fi
  if [[ -n $RACKBOX_QUORUM_HOST ]]; then
    # Its own line among the members: "0 1 Qdevice"; its flags, A(live) and V(ote), stand with each member.
    third_vote=false
    if timeout "${patience:-1}" corosync-quorumtool -s 2>/dev/null | grep --quiet ' A,V,'; then
      third_vote=true
    fi
  fi
  jq --null-input --argjson quorate "$quorate" --argjson third_vote "$third_vote" --arg online "$online" '
    {$quorate, online: ($online | split("\n") | map(select(. != "")) | sort)}
    + if $third_vote == null then {} else {$third_vote} end'
}

role_status() {
  local backends
  backends=$(
    echo 'show stat' |
      timeout "${patience:-1}" socat - "UNIX-CONNECT:$RACKBOX_ROOT/run/haproxy/admin.sock" 2>/dev/null |
      cut --delimiter=, --fields=1,2,18
  ) || backends=''
  jq --null-input --compact-output --argjson holds "$holds" --argjson view "$("view_of_$RACKBOX_HA")" \
    --arg backends "$backends" '
    {holds_vip: $holds} + $view + {
      haproxy_backends: (
        $backends | split("\n") | map(split(","))
        | map(select(length == 3 and .[1] != "FRONTEND" and .[1] != "BACKEND" and (.[0] | startswith("#") | not)))
        | map(select(.[1] | endswith("-unchecked") | not))
        | map({key: "\(.[0])/\(.[1])", value: .[2]}) | from_entries
      )
    }'
}

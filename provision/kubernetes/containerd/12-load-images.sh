#!/usr/bin/env bash
# Loads the images that this machine needs from the bundle, those that are not there yet: nothing is ever fetched.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

list=$RACKBOX_ROOT/etc/rackbox/kubernetes/images

runtime_answers() {
  ctr --namespace k8s.io version
}
wait_until "containerd's answer" 60 runtime_answers

# "reference digest" of each image that is there. Its volume outlives this machine's root.
there=$(ctr --namespace k8s.io images ls | awk 'NR > 1 { print $1, $3 }')
while read -r archive reference digest; do
  if [[ $'\n'$there$'\n' == *$'\n'"$reference $digest"$'\n'* ]]; then
    continue
  fi
  say "loading $reference"
  ctr --namespace k8s.io images import "$RACKBOX_KUBERNETES/$archive" >/dev/null </dev/null
done < <(grep --invert-match '^#' "$list")

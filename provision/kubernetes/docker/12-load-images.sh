#!/usr/bin/env bash
# Loads the images that this machine needs from the bundle into Docker, those that are not there yet: nothing is ever
# fetched.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

list=$RACKBOX_ROOT/etc/rackbox/kubernetes/images

engine_answers() {
  docker version --format '{{.Server.Version}}'
}
wait_until "Docker's answer" 60 engine_answers

# id_of ARCHIVE: what Docker calls the image in it: the digest of its config, which the archive begins with the name of.
id_of() {
  local config
  config=$(tar --extract --occurrence=1 --to-stdout --file "$1" manifest.json | jq --raw-output '.[0].Config')
  printf 'sha256:%s\n' "${config##*/}"
}

# Docker's volume outlives this machine's root.
while read -r archive reference _; do
  wanted=$(id_of "$RACKBOX_KUBERNETES/$archive")
  there=$(docker image inspect --format '{{.Id}}' "$reference" 2>/dev/null </dev/null) || there=''
  if [[ $there == "$wanted" ]]; then
    continue
  fi
  say "loading $reference"
  docker load --quiet --input "$RACKBOX_KUBERNETES/$archive" >/dev/null </dev/null
done < <(grep --invert-match '^#' "$list")

#!/usr/bin/env bash
# Makes the bundle's programs commands of this machine.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

for program in "$RACKBOX_KUBERNETES"/bin/*; do
  link=$RACKBOX_ROOT/usr/local/bin/${program##*/}
  if [[ $(readlink "$link" 2>/dev/null) != "$program" ]]; then
    mkdir -p "${link%/*}"
    ln -sfn "$program" "$link"
  fi
done

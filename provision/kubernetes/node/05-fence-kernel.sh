#!/usr/bin/env bash
# Keeps a kubelet from changing the computer that its machine is a container of.
#
# A kubelet sets some switches of the kernel to what it wants, which in a container are the host's own. It leaves those
# alone that are right already, so in a container it is shown files that say so.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

if ! systemd-detect-virt --quiet --container; then
  exit 0
fi

# What pods' mounts must be able to do in both directions; systemd leaves this to whoever started the container.
mount --make-rshared /

shown=$RACKBOX_ROOT/run/rackbox/kernel
mkdir -p "$shown"
while read -r switch wanted; do
  if [[ $(<"$RACKBOX_ROOT/proc/sys/$switch") != "$wanted" ]]; then
    printf '%s\n' "$wanted" >"$shown/${switch##*/}"
    mount --bind "$shown/${switch##*/}" "$RACKBOX_ROOT/proc/sys/$switch"
  fi
done <<'SWITCHES'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SWITCHES

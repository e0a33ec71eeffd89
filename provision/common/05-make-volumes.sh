#!/usr/bin/env bash
# Makes this machine's own volumes in what its volume group has left, and grows those that are to be larger: live, with
# what is on them in place. Nothing is ever made smaller: a volume that is larger than asked for stays as it is.
#
# A system container has no volume group; its directories are mounted from outside.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"
# shellcheck source=provision/lib/lvm.sh
. "${0%/*}/../lvm.sh"

if [[ -z $RACKBOX_VOLUMES ]] || systemd-detect-virt --container --quiet; then
  exit 0
fi

make_volume() {
  local name=$1 mount=$2 size=$3 device=/dev/$group/$1
  say "volume $name: $size MiB for $mount"
  lvcreate --quiet --yes --wipesignatures y --size "${size}m" --name "$name" "$group"
  # No room kept for root, and the rest of the inode tables written while the machine runs.
  mkfs.ext4 -q -m 0 -L "$name" "$device"
}

follow_disk "$group"

# All or nothing: what is missing is summed up first.
declare -A has
while read -r name size; do
  has[$name]=${size%%.*}
done < <(lvs --noheadings --nosuffix --units m --options lv_name,lv_size "$group")
free=$(vgs --noheadings --nosuffix --units m --options vg_free "$group" | awk '{ print int($1) }')
missing=0 grown=()
for volume in $RACKBOX_VOLUMES; do
  IFS=: read -r name mount size disk <<<"$volume"
  [[ -z $disk ]] || continue
  more=$((size - ${has[$name]:-0}))
  if ((more > 0)); then
    missing=$((missing + more))
    grown+=("$name to $size MiB (has ${has[$name]:-0})")
  fi
done
if ((missing > free)); then
  die "volumes: must need no more than the $free MiB that group $group has left; got $missing MiB: ${grown[*]}"
fi

for volume in $RACKBOX_VOLUMES; do
  IFS=: read -r name mount size disk <<<"$volume"
  [[ -z $disk ]] || continue # the next hook's
  if [[ -z ${has[$name]:-} ]]; then
    make_volume "$name" "$mount" "$size"
    mount_volume "$name" "$mount"
  elif ((size > has[$name])); then
    say "volume $name: from ${has[$name]} to $size MiB"
    lvextend --quiet --resizefs --size "${size}m" "$group/$name"
  fi
done

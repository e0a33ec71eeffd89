#!/usr/bin/env bash
# What the hooks that make volumes share. Sourced after lib.sh.

# shellcheck disable=SC2034  # for those who source it
group=rackbox

# The disk may be larger than when its group was made. Its partition, if it has one, is the disk's last.
follow_disk() {
  local device partition disk end
  device=$(pvs --noheadings --options pv_name --select "vg_name=$1" | tr -d ' ')
  partition=/sys/class/block/${device##*/}
  if [[ ! -e $RACKBOX_ROOT$partition/partition ]]; then
    end=$(pvs --noheadings --nosuffix --units s --options pv_size "$device" | tr -dc 0-9)
    if (($(<"$RACKBOX_ROOT$partition/size") - end > 65536)); then
      pvresize --quiet "$device"
    fi
    return
  fi
  disk=$(basename "$(readlink -f "$RACKBOX_ROOT$partition/..")")
  end=$(($(<"$RACKBOX_ROOT$partition/start") + $(<"$RACKBOX_ROOT$partition/size")))
  # Sectors of 512 bytes; the disk's own end holds a copy of the partition table.
  if (($(<"$RACKBOX_ROOT/sys/class/block/$disk/size") - end > 65536)); then
    growpart "/dev/$disk" "$(<"$RACKBOX_ROOT$partition/partition")"
    pvresize --quiet "$device"
  fi
}

mount_volume() {
  local name=$1 mount=$2 device=${3:-/dev/$group/$1} options=${4:-noatime}
  if ! grep --quiet "^$device " "$RACKBOX_ROOT/etc/fstab"; then
    printf '%s %s auto %s 0 2\n' "$device" "$mount" "$options" >>"$RACKBOX_ROOT/etc/fstab"
  fi
  if ! mountpoint --quiet "$mount"; then
    mkdir -p "$RACKBOX_ROOT$mount"
    mount "$mount"
  fi
}

#!/usr/bin/env bash
# Makes the volumes that lie in a thin pool on a disk of their own, and has pool and volume follow a disk and a size that
# have grown: live, with what is on them in place. Nothing is ever made smaller.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"
# shellcheck source=provision/lib/lvm.sh
. "${0%/*}/../lvm.sh"

if [[ -z $RACKBOX_VOLUMES ]] || systemd-detect-virt --container --quiet; then
  exit 0
fi

# blank_disk MIB: the first disk of that size on which nothing is.
blank_disk() {
  local path found
  for path in "$RACKBOX_ROOT"/sys/class/block/*; do
    if (($(<"$path/size") == $1 * 2048)); then
      found=0
      blkid --probe "/dev/${path##*/}" >/dev/null 2>&1 || found=$?
      if ((found == 2)); then # blkid(8): there is nothing
        printf '/dev/%s\n' "${path##*/}"
        return
      fi
    fi
  done
  die "a disk of $1 MiB: must be there, with nothing on it; there is none"
}

# make_pool NAME MIB: the group of a volume's own disk, and in it a thin pool, as Gluster's guide has it ("Formatting and
# Mounting Bricks"): metadata in a volume of their own, chunks of 256 KiB, which are not zeroed first. They
# get a two-hundredth of the disk, more than such chunks need; as much again stays for their repair (lvmthin(7)).
make_pool() {
  local own=${group}_$1 disk metadata free
  disk=$(blank_disk "$2")
  say "pool for $1: $disk, $2 MiB"
  metadata=$((($2 / 200 + 19) / 4 * 4))
  pvcreate --quiet --quiet --dataalignment 1m "$disk"
  vgcreate --quiet --quiet "$own" "$disk"
  free=$(vgs --noheadings --nosuffix --units m --options vg_free "$own" | awk '{ print int($1) }')
  lvcreate --quiet --yes --size "${metadata}m" --name pool_meta "$own"
  lvcreate --quiet --yes --size "$((free - 2 * metadata))m" --name pool "$own"
  lvconvert --quiet --yes --type thin-pool --chunksize 256k --zero n --poolmetadata "$own/pool_meta" "$own/pool"
}

# keep_thin NAME MOUNT SIZE DISK: a volume in a thin pool on a disk of its own. Each step is made once, so that one that
# was broken off goes on where it was.
keep_thin() {
  local name=$1 mount=$2 size=$3 own=${group}_$1 device=/dev/${group}_$1/$1 there free
  there=" $(lvs --noheadings --options lv_name,lv_attr --select "vg_name=$own" | xargs) "
  if [[ $there != *" pool t"* ]]; then
    if [[ -n $(vgs --noheadings --options vg_name --select "vg_name=$own") ]]; then
      vgremove --quiet --quiet --force --yes "$own" # of an earlier try: there is no pool on it, and so nothing else
      pvs --noheadings --options pv_name --select 'vg_name=""' | xargs --no-run-if-empty pvremove --quiet --quiet --yes
    fi
    make_pool "$name" "$4"
  else
    follow_disk "$own"
    free=$(vgs --noheadings --nosuffix --units m --options vg_free "$own" | awk '{ print int($1) }')
    if ((free >= 64)); then
      say "pool for $name: $free MiB more"
      lvextend --quiet --size "+${free}m" "$own/pool"
    fi
  fi
  if [[ $there != *" $name V"* ]]; then
    say "volume $name: $size MiB for $mount, thin"
    lvcreate --quiet --quiet --yes --type thin --virtualsize "${size}m" --thinpool "$own/pool" --name "$name"
  fi
  if ! blkid --probe "$device" >/dev/null 2>&1; then
    # Inodes with room for Gluster's extended attributes, large directory blocks, and stripes of the pool's chunks.
    # A label has 12 characters at most (xfs_admin(8)).
    mkfs.xfs -q -i size=512 -n size=8192 -d su=256k,sw=1 -L "${name:0:12}" "$device"
  elif (($(lvs --noheadings --nosuffix --units m --options lv_size "$own/$name" | awk '{ print int($1) }') < size)); then
    say "volume $name: to $size MiB"
    mount_volume "$name" "$mount" "$device" noatime,inode64
    lvextend --quiet --resizefs --size "${size}m" "$own/$name"
  fi
  mount_volume "$name" "$mount" "$device" noatime,inode64
}

for volume in $RACKBOX_VOLUMES; do
  IFS=: read -r name mount size disk <<<"$volume"
  if [[ -n $disk ]]; then
    keep_thin "$name" "$mount" "$size" "$disk"
  fi
done

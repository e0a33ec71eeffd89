#!/bin/sh
# Runs in the throw-away machine, from its initramfs: partitions, volumes, the file systems copied, the boot loader.
# Disks are known by their serial numbers. The report is written last: without one, the caller knows that it failed.
set -eu

cd /lay
PATH=/lay/bin:$PATH
# shellcheck source=/dev/null # rendered: see render_disk in rackbox/layout.py
. ./disk.env

disk() { # SERIAL
  for entry in /sys/block/vd*; do
    if [ "$(cat "$entry/serial")" = "$1" ]; then
      echo "/dev/${entry##*/}"
      return
    fi
  done
  echo "no disk with the serial number $1" >&2
  return 1
}

say() {
  read -r seconds _ </proc/uptime
  echo "lay-out: $1 at $seconds s"
}

copy() { # FROM TO FIRST COUNT, in MiB
  dd if="$1" of="$2" bs=1M skip="$3" seek="$3" count="$4" conv=sparse,notrunc status=none
}

modprobe virtio_blk
modprobe dm_mod
udevadm settle
target=$(disk target)
say begins

sfdisk --quiet "$target" <partitions.sfdisk
udevadm settle
lvm pvcreate --quiet "${target}4"
lvm vgcreate --quiet --physicalextentsize "${EXTENT_MIB}m" "$GROUP" "${target}4"
while read -r name _ size; do
  lvm lvcreate --quiet --yes --wipesignatures n --zero n --name "$name" --size "${size}m" "$GROUP"
done <volumes.tsv
udevadm settle
say 'volumes made'

while read -r name first count && [ "$name" != end ]; do
  case $name in
    boot) to=${target}3 ;;
    *) to=/dev/mapper/$GROUP-$name ;;
  esac
  copy "$(disk "$name")" "$to" "$first" "$count"
done <"$(disk plan)"
say 'file systems copied'

mkfs.vfat -F 32 -n "$ESP_LABEL" "${target}2" >/dev/null
mkdir /esp /target-boot
mount -t vfat "${target}2" /esp
mkdir /esp/EFI /esp/EFI/BOOT
cp bootx64.efi /esp/EFI/BOOT/BOOTX64.EFI
umount /esp
mount -t ext4 "${target}3" /target-boot
cp boot.img core.img /target-boot/grub/i386-pc/
# Without a code against single bad bits of the loader, which takes over half a second to compute where it is emulated.
grub-bios-setup --no-rs-codes --skip-fs-probe --directory=/target-boot/grub/i386-pc "$target"
umount /target-boot
say 'boot loader written'

lvm vgchange --quiet --activate n "$GROUP"
lvm fullreport --quiet --reportformat json --units b --nosuffix \
  --configreport vg -o vg_name,vg_size,vg_free,vg_extent_size,vg_extent_count,vg_free_count \
  --configreport lv -o lv_name,lv_size,lv_layout --configreport pv -o pv_name,pv_size,pe_start \
  --configreport pvseg -o pvseg_start,pvseg_size --configreport seg -o seg_start,segtype >/lay/report
dd if=/lay/report of="$(disk report)" bs=1M conv=notrunc status=none
sync
say 'all done'

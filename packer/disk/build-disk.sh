#!/usr/bin/env bash
# Lays a tree out on a disk. File systems, initramfs and boot loader are made natively; partitions and volumes by the
# tree's own kernel and LVM in a throw-away machine, which also copies the file systems onto them: emulation is slow.
# Inputs are RACKBOX_* and SOURCE_DATE_EPOCH (see variables.pkr.hcl); results go to $RACKBOX_OUTPUT:
#   disk.qcow2   the disk, compressed
#   lvm.json     what LVM says of it: groups and volumes, sizes in bytes
set -euo pipefail

# Mounts are our own, and end with us.
if [ "${1-}" != apart ]; then
  exec unshare --mount --propagation private "$0" apart
fi

here=$(cd "$(dirname "$0")" && pwd)
out=$RACKBOX_OUTPUT
work=$out/disk-work
tree=$work/tree
# shellcheck source=/dev/null # rendered: see render_disk in rackbox/layout.py
. "$RACKBOX_RENDERED/disk.env"
export LC_ALL=C.UTF-8
unset TMPDIR # is not there inside of the tree
export MKE2FS_CONFIG=$here/mke2fs.conf MKE2FS_SKIP_PROGRESS=1 E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH

clean_up() {
  umount --recursive "$tree/dev" "$tree/proc" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

step() { printf '%s: %s s\n' "$1" "$((SECONDS - begun))" && begun=$SECONDS; }
begun=$SECONDS

make_file_system() { # NAME DIRECTORY MIB LABEL
  truncate --size "$3M" "$work/$1.img"
  mke2fs -q -t ext4 -L "$4" -d "$2" -E lazy_itable_init=0,lazy_journal_init=0 "$work/$1.img"
}

# Where a file system has data: name, first, count, in whole MiB, one stretch a line.
list_data() { # NAME
  local offset length first last begin=0 end=0
  while read -r offset length _; do
    [[ $length == 0x* ]] || continue
    first=$((offset >> 20)) last=$(((offset + length - 1 >> 20) + 1))
    if ((first > end)); then
      ((end == begin)) || echo "$1 $begin $((end - begin))"
      begin=$first
    fi
    end=$((last > end ? last : end))
  done < <(qemu-img map -f raw "$work/$1.img")
  ((end == begin)) || echo "$1 $begin $((end - begin))"
}

# Takes a directory out of the tree and leaves an empty one of the same kind, to mount on.
take_out() { # MOUNT NAME
  mv "$tree$1" "$work/parts/$2"
  mkdir "$tree$1"
  chmod --reference="$work/parts/$2" "$tree$1"
  chown --reference="$work/parts/$2" "$tree$1"
}

rm -rf --one-file-system "$work"
mkdir -p "$tree" "$work/parts" "$work/lay"
tar --extract --zstd --numeric-owner --xattrs --xattrs-include='*' --file "$RACKBOX_ROOTFS" --directory "$tree"
step 'tree unpacked'

# The machine's initramfs: the tree's own, with what lays the disk out.
mount --bind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
kernel=$(basename "$(readlink "$tree/boot/vmlinuz")")
version=${kernel#vmlinuz-}
cp -r "$tree/etc/initramfs-tools" "$tree/run/lay"
cp -r "$here/initramfs/." "$tree/run/lay/"
mkdir "$tree/run/payload"
cp "$here/lay-out.sh" "$RACKBOX_RENDERED"/{disk.env,partitions.sfdisk,volumes.tsv} "$tree/run/payload/"

# The boot loader: all that it needs to find /boot is inside of it. In /boot/grub are the modules for whoever makes it
# load another configuration (update-grub).
common=(normal configfile search search_label part_gpt ext2 serial terminal echo test)
mkdir -p "$tree/boot/grub"
cp "$RACKBOX_RENDERED/early.cfg" "$tree/run/early.cfg"
chroot "$tree" grub-mkimage --format=i386-pc --output=/run/payload/core.img --prefix=/grub --config=/run/early.cfg \
  biosdisk linux16 "${common[@]}"
chroot "$tree" grub-mkimage --format=x86_64-efi --output=/run/payload/bootx64.efi --prefix=/grub \
  --config=/run/early.cfg linux efi_gop "${common[@]}"
cp "$tree/usr/lib/grub/i386-pc/boot.img" "$tree/run/payload/"
for platform in i386-pc x86_64-efi; do
  mkdir "$tree/boot/grub/$platform"
  cp "$tree/usr/lib/grub/$platform"/*.{mod,lst} "$tree/boot/grub/$platform/"
done
cp "$RACKBOX_RENDERED/grub.cfg" "$tree/boot/grub/grub.cfg"
mkdir -p "$tree/boot/efi"
chroot "$tree" mkinitramfs -d /run/lay -o /run/lay.img "$version"
cp "$tree/run/lay.img" "$tree/boot/$kernel" "$work/lay/"
rm -rf "$tree"/run/{lay,lay.img,payload,early.cfg}
umount "$tree/dev" "$tree/proc"
step 'initramfs and boot loader'

drives=()
attach() { # SERIAL FILE OPTIONS
  drives+=(-drive "file=$2,format=raw,if=none,id=$1,$3" -device "virtio-blk-pci,drive=$1,serial=$1")
}

take_out /boot boot
make_file_system boot "$work/parts/boot" "$BOOT_MIB" "$BOOT_LABEL"
while IFS=$'\t' read -r name mount size; do
  [ "$mount" = / ] || take_out "$mount" "$name"
done <"$RACKBOX_RENDERED/volumes.tsv"
while IFS=$'\t' read -r name mount size; do
  if [ "$mount" = / ]; then
    make_file_system "$name" "$tree" "$size" "$name"
  else
    make_file_system "$name" "$work/parts/$name" "$size" "$name"
  fi
  attach "$name" "$work/$name.img" readonly=on
done <"$RACKBOX_RENDERED/volumes.tsv"
attach boot "$work/boot.img" readonly=on
# What there is to copy, since most of each file system is a hole.
while IFS=$'\t' read -r name _ _; do
  list_data "$name"
done < <(cat "$RACKBOX_RENDERED/volumes.tsv" && printf 'boot\t\t\n') >"$work/plan"
echo end >>"$work/plan"
truncate --size 1M "$work/plan"
attach plan "$work/plan" readonly=on
truncate --size "${DISK_MIB}M" "$work/disk.img"
attach target "$work/disk.img" cache=unsafe,discard=unmap
truncate --size 1M "$work/report.img"
attach report "$work/report.img" cache=unsafe
rm -rf --one-file-system "${work:?}/parts"
step 'file systems'

# As a lab's emulated machines have it; with all that QEMU can emulate, `max`, they take longer.
cpu=max
[[ $RACKBOX_ACCELERATOR != tcg* ]] || cpu=Westmere

failed=0
timeout --kill-after=5 300 qemu-system-x86_64 \
  -machine q35 -accel "$RACKBOX_ACCELERATOR" -cpu "$cpu" -smp 2 -m 1024 \
  -nodefaults -no-user-config -display none -nic none -no-reboot -serial "file:$out/serial.log" -device virtio-rng-pci \
  -kernel "$work/lay/$kernel" -initrd "$work/lay/lay.img" -append 'console=ttyS0 quiet panic=-1 rackbox-lay-out' \
  "${drives[@]}" </dev/null || failed=$?
tr --delete '\0' <"$work/report.img" >"$out/lvm.json"
if [ "$failed" -ne 0 ] || [ ! -s "$out/lvm.json" ]; then
  echo "the machine that lays the disk out did not finish (exit $failed); its console said:" >&2
  tail -n 40 "$out/serial.log" >&2
  exit 1
fi
step 'laid out'

qemu-img convert -m 2 -W -c -O qcow2 -o compression_type=zstd -f raw "$work/disk.img" "$out/disk.qcow2"
step 'compressed'

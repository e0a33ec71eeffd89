#!/usr/bin/env bash
# Builds the root file system that every box is made of, natively, with mmdebstrap.
# Inputs are RACKBOX_* and SOURCE_DATE_EPOCH (see variables.pkr.hcl); results go to $RACKBOX_OUTPUT:
#   rootfs.tar.zst   the tree
#   packages.tsv     package, version, architecture, source package, its version; one a line, sorted
#   sources.txt      the archive's Release files the packages came from
#   tools.txt        what built it
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$RACKBOX_OUTPUT

# Packer leaves its own descriptors open. With those, apt's pipe to its hooks gets a number of two digits, which dash
# cannot redirect ("Bad fd number"): close everything but the standard three.
for descriptor in /proc/self/fd/*; do
  number=${descriptor##*/}
  if [ "$number" -gt 2 ]; then
    eval "exec $number>&-"
  fi
done

# Tens of thousands of small files: in memory that is some ten seconds less.
if [ "$RACKBOX_IN_MEMORY" = true ]; then
  export TMPDIR=$TMPDIR/in-memory
  mkdir "$TMPDIR"
  mount -t tmpfs -o mode=0755,size=75% rackbox "$TMPDIR"
fi

# With a private apt root, the indices are those that resolve.sh looked at, and packages are kept for the next build.
cached=()
if [ -n "$RACKBOX_APT_ROOT" ]; then
  # mmdebstrap removes only what it fetched itself in its first step: essential/unlink leaves all for keep-debs.sh.
  cached=(
    --skip=update --skip=essential/unlink
    --setup-hook="$here/fill-caches.sh"
    --customize-hook="$here/keep-debs.sh"
  )
fi

# For virtual machines: what the initramfs is made by, and of, must be there before the kernel is.
kernel=()
if [ -n "$RACKBOX_KERNEL_FILES" ]; then
  kernel=(--setup-hook="cp -r --no-preserve=ownership '$RACKBOX_KERNEL_FILES/.' \"\$1/\"")
fi

# What apt leaves is cleaned up by customize.sh: mmdebstrap's way leaves directories that belong to root or to _apt,
# depending on who may read the directory that the tree is built in.
# gsyncd (geo-replication) is left out: where it is there, glusterd runs it at each start, seconds of Python.
# No mirror is named: mmdebstrap then takes the distribution's default for the suite, and apt's own settings apply.
# Nothing needs to survive a power cut before the tree is packed: dpkg need not wait for the disk (force-unsafe-io).
mmdebstrap \
  --variant=minbase \
  --format=tar \
  --components="$RACKBOX_COMPONENTS" \
  --include="$RACKBOX_PACKAGES" \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/lib/*/glusterfs/gsyncd' \
  --dpkgopt='force-unsafe-io' \
  "${cached[@]}" \
  "${kernel[@]}" \
  --skip=cleanup/apt \
  --customize-hook="$here/customize.sh" \
  --customize-hook="sync-out /usr/share/rackbox '$out'" \
  "$RACKBOX_SUITE" - | zstd --threads=0 -7 --quiet --force -o "$out/rootfs.tar.zst"

{
  # sed reads to the end: a program whose reader goes away fails
  mmdebstrap --version
  packer version | sed -n 1p
  zstd --version
  apt-get --version | sed -n 1p
} >"$out/tools.txt"

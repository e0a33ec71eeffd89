#!/usr/bin/env bash
# Builds the root file system that every box is made of, natively, with mmdebstrap.
# Inputs are RACKBOX_* and SOURCE_DATE_EPOCH (see variables.pkr.hcl); results go to $RACKBOX_OUTPUT:
#   rootfs.tar.zst   the tree
#   packages.tsv     package, version, architecture, one a line, sorted
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

# gsyncd (geo-replication) is left out: where it is there, glusterd runs it at each start, seconds of Python.
# No mirror is named: mmdebstrap then takes the distribution's default for the suite, and apt's own settings apply.
mmdebstrap \
  --variant=minbase \
  --format=tar \
  --include="$RACKBOX_PACKAGES" \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/lib/*/glusterfs/gsyncd' \
  --customize-hook="$here/customize.sh" \
  --customize-hook="sync-out /usr/share/rackbox '$out'" \
  "$RACKBOX_SUITE" - | zstd --threads=0 -7 --quiet --force -o "$out/rootfs.tar.zst"

{
  mmdebstrap --version
  packer version | head -n 1
  zstd --version
} >"$out/tools.txt"

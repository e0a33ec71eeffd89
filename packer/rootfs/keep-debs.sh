#!/usr/bin/env bash
# Run by mmdebstrap with the tree as $1 after the packages are installed: keeps them for the next build, and no others.
set -euo pipefail

root=$1
kept=$RACKBOX_APT_ROOT/debs

rm -rf "$kept.part"
mkdir -p "$kept.part"
for deb in "$root"/var/cache/apt/archives/*.deb; do
  [ -e "$deb" ] || continue
  ln "$deb" "$kept.part/" 2>/dev/null || cp "$deb" "$kept.part/"
done
rm -rf "$kept"
mv "$kept.part" "$kept"
rm -f "$root"/etc/apt/sources.list.d/9000rackbox.*

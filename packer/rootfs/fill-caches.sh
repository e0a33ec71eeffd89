#!/usr/bin/env bash
# Run by mmdebstrap with the tree as $1 before it asks for anything: hands over the indices that resolve.sh looked at,
# so that just those versions are installed, and the packages that an earlier build fetched, if they are whole.
set -euo pipefail

root=$1
cache=$RACKBOX_APT_ROOT

mkdir -p "$root"/var/{lib/apt/lists,cache/apt/archives/partial}
cp --archive "$cache/var/lib/apt/lists/." "$root/var/lib/apt/lists/"
for source in "$cache"/etc/apt/sources.list.d/9000rackbox.*; do
  [ ! -e "$source" ] || cp "$source" "$root/etc/apt/sources.list.d/"
done

mkdir -p "$cache/debs"
while IFS=$'\t' read -r name version arch _ sum; do
  file=${name}_${version//:/%3a}_$arch.deb
  [ ! -e "$cache/debs/$file" ] || echo "$sum  $file"
done <"$cache/resolved.tsv" >"$cache/debs.sums"
# apt takes a file of the right size for the right one.
cd "$cache/debs"
{ sha256sum --check "$cache/debs.sums" 2>/dev/null || true; } | while IFS=: read -r file verdict; do
  if [ "$verdict" = " OK" ]; then
    ln "$file" "$root/var/cache/apt/archives/" 2>/dev/null || cp "$file" "$root/var/cache/apt/archives/"
  fi
done

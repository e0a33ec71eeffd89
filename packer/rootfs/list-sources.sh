#!/usr/bin/env bash
# Prints what the Release files that apt has in the tree $1 say of themselves: a block of lines each, sorted by file.
set -euo pipefail

for release in "$1"/var/lib/apt/lists/*Release; do
  [ -e "$release" ] || continue
  grep -E '^(Origin|Suite|Codename|Version|Date):' "$release"
  echo
done

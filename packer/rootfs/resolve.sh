#!/usr/bin/env bash
# Finds out what a build would install now, without building: apt's own solver over fresh indices in a private root.
# Inputs are RACKBOX_* (see variables.pkr.hcl). $RACKBOX_APT_ROOT is kept between runs: what has not changed is neither
# fetched nor solved again, and a build installs from the very indices that were looked at. Results in $RACKBOX_OUTPUT:
#   resolved.tsv   package, version, architecture, where from (origin:version/suite), SHA-256; one a line, sorted
#   sources.txt    what the archive's Release files say of themselves
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$RACKBOX_APT_ROOT
out=$RACKBOX_OUTPUT
export LC_ALL=C.UTF-8

# What mmdebstrap would have the tree's apt read: it alone chooses the mirror, and from the host it takes the keys.
rm -rf "${root:?}/etc"
mkdir -p "$root"/{etc,var/lib/dpkg,var/lib/apt/lists/partial,var/cache/apt/archives/partial}
mmdebstrap --quiet --variant=custom --format=null --components="$RACKBOX_COMPONENTS" --skip=update,cleanup \
  --setup-hook="cp -r \"\$1/etc/apt\" '$root/etc/apt'" "$RACKBOX_SUITE" -
if [ -n "$RACKBOX_APT_SOURCES" ]; then
  cp "$RACKBOX_APT_SOURCES" "$root/etc/apt/sources.list.d/9000rackbox.${RACKBOX_APT_SOURCES##*.}"
fi
: >"$root/var/lib/dpkg/status"

arch=$(dpkg --print-architecture)
trusted=$(apt-config shell v Dir::Etc::Trusted/f | cut -d "'" -f 2)
trusted_parts=$(apt-config shell v Dir::Etc::TrustedParts/d | cut -d "'" -f 2)
cat >"$root/apt.conf" <<CONF
Apt::Architecture "$arch";
Apt::Architectures "$arch";
Dir "$root";
Dir::State::Status "$root/var/lib/dpkg/status";
Dir::Etc::Trusted "$trusted";
Dir::Etc::TrustedParts "$trusted_parts";
APT::Sandbox::User "root";
pkgCacheGen::ForceEssential ",";
CONF
export APT_CONFIG=$root/apt.conf

apt-get --quiet --quiet update --error-on=any
"$here/list-sources.sh" "$root" >"$out/sources.txt"

# The same question to the same indices has the same answer.
question=$(
  {
    echo "$RACKBOX_SUITE $RACKBOX_PACKAGES $arch"
    cat "$0" "$root"/var/lib/apt/lists/*Release
    find "$root/etc/apt" -type f -exec sha256sum {} + | sort
  } | sha256sum
)
if [ -e "$root/resolved.tsv" ] && [ "$question" = "$(cat "$root/question" 2>/dev/null)" ]; then
  cp "$root/resolved.tsv" "$out/resolved.tsv"
  exit
fi

# Both of mmdebstrap's steps, the essential packages and the rest, as one: nothing is installed between them.
of_suite="?or(?archive(^$RACKBOX_SUITE\$),?codename(^$RACKBOX_SUITE\$)),?architecture($arch)"
IFS=, read -r -a packages <<<"$RACKBOX_PACKAGES"
ask=(apt-get --quiet --quiet --yes install "?narrow($of_suite,?essential)" "?narrow($of_suite,?priority(required))")
"${ask[@]}" "${packages[@]}" --simulate >"$root/simulated.txt"
"${ask[@]}" "${packages[@]}" --option Acquire::ForceHash=SHA256 --print-uris >"$root/uris.txt"
awk '
  FNR == NR { # a URI, name_version_architecture.deb (a colon is %3a), size, SHA256:sum
    sum = $4; sub(/^SHA256:/, "", sum); name = $2; sub(/_.*/, "", name); sums[name] = sum; next
  }
  /^Inst / { # Inst name (version origin:version/suite, … [architecture]) [what it breaks for the moment]
    match($0, / \[[^]]*\]\)/)
    arch = substr($0, RSTART + 2, RLENGTH - 4)
    from = substr($0, 1, RSTART - 1); sub(/^[^(]*\([^ ]+ /, "", from)
    printf "%s\t%s\t%s\t%s\t%s\n", $2, substr($3, 2), arch, from, sums[$2]
  }' "$root/uris.txt" "$root/simulated.txt" | LC_ALL=C sort >"$out/resolved.tsv"
rm -f "$root/question"
cp "$out/resolved.tsv" "$root/resolved.tsv"
echo "$question" >"$root/question"

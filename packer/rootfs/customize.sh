#!/usr/bin/env bash
# Run by mmdebstrap with the finished tree as $1: switches services off, prepares the tree for cloud-init,
# and removes everything that must differ between two machines.
set -euo pipefail

root=$1
here=$(cd "$(dirname "$0")" && pwd)

# The tree's own systemctl: the builder need not have one.
read -r -a disabled <<<"$RACKBOX_DISABLED_UNITS"
read -r -a masked <<<"$RACKBOX_MASKED_UNITS"
chroot "$root" systemctl --quiet disable "${disabled[@]}"
chroot "$root" systemctl --quiet mask "${masked[@]}"
chroot "$root" systemctl --quiet enable systemd-networkd.service systemd-resolved.service ssh.service

cp -r --no-preserve=ownership "$here/files/." "$root/"
chroot "$root" systemctl --quiet enable rackbox-provision.service

if [ -e "$root/etc/systemd/system/rackbox-late-devices.service" ]; then
  chroot "$root" systemctl --quiet enable rackbox-late-devices.service
  chroot "$root" systemctl --quiet disable lvm2-monitor.service # which that one starts
fi

# Vagrant's user. It has no password and no key: cloud-init gives it the lab's key.
chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
chmod 0440 "$root/etc/sudoers.d/vagrant"

# Asked from the network at every machine, never inherited from the builder.
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
echo localhost >"$root/etc/hostname"
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed
# corosync-qnetd's postinst makes a certificate authority with its private key, pacemaker's a key for remote nodes.
rm -rf "$root/etc/corosync/qnetd/nssdb" "$root/etc/corosync/qdevice/net/nssdb" "$root/etc/pacemaker/authkey"

# Nothing in /etc and /var is to be brought up to date with /usr at first boot (systemd-update-done.service(8)): the
# packages have done that. Newer than /usr, whenever the tree is unpacked.
for place in etc var; do
  printf 'TIMESTAMP_NSEC=%s000000000\n' "$((SOURCE_DATE_EPOCH + 1))" >"$root/$place/.updated"
done

# Generators for what no machine here has, each a program at every boot; the first would fail, too.
mkdir -p "$root/etc/systemd/system-generators"
for generator in ssh gpt-auto hibernate-resume tpm2 run system-update; do
  ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done

# What was installed, and from where: becomes part of the box's manifest.
mkdir -p "$root/usr/share/rackbox"
# shellcheck disable=SC2016 # dpkg-query's own fields, not the shell's
chroot "$root" dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' |
  LC_ALL=C sort >"$root/usr/share/rackbox/packages.tsv"
"$here/list-sources.sh" "$root" >"$root/usr/share/rackbox/sources.txt"

# Logs and caches carry the builder's clock.
find "$root/var/log" -type f -exec truncate --size 0 {} +
rm -rf "$root"/var/cache/ldconfig/aux-cache "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
# As apt makes them where there are none.
install --directory --mode=0755 "$root"/var/{lib/apt/lists,cache/apt/archives}
chroot "$root" install --directory --mode=0700 --owner=_apt --group=root \
  /var/lib/apt/lists/partial /var/cache/apt/archives/partial
sed --in-place '/^force-unsafe-io$/d' "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"

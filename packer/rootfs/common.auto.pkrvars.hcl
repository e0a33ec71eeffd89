# What all releases share. Packer reads this file by its name, and then the release's own, which may override it.

packages = {
  common = [
    "bash-completion", "bind9-dnsutils", "ca-certificates", "cloud-init", "curl", "dbus", "iproute2",
    "iptables", "iputils-arping", "iputils-ping", "jq", "less", "libnss-resolve", "netbase", "nftables", "openssh-server",
    "procps", "socat", "sudo", "systemd", "systemd-resolved", "systemd-sysv", "udev", "xfsprogs",
  ]
  gateway = ["corosync-qnetd", "dnsmasq"]
  lb = [
    "corosync", "corosync-qdevice", "haproxy", "keepalived", "pacemaker", "pacemaker-cli-utils", "resource-agents",
    "tcc",
  ]
  master  = ["etcd-client", "etcd-server"]
  worker  = ["containerd", "glusterfs-client", "runc"]
  gluster = ["glusterfs-client", "glusterfs-server"]
}

disabled_units = [
  "containerd.service", "corosync.service", "corosync-qdevice.service", "corosync-qnetd.service", "dnsmasq.service",
  "etcd.service", "glusterd.service", "haproxy.service", "keepalived.service", "logd.service", "nftables.service",
  "pacemaker.service",
]

masked_units = [
  "apt-daily.timer", "apt-daily-upgrade.timer", "cloud-init-hotplugd.socket", "dpkg-db-backup.timer",
  "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "pcscd.socket",
  "sshd-keygen.service", "systemd-networkd-wait-online.service", "systemd-timesyncd.service", "xfs_scrub_all.timer",
]

kernel_packages = [
  "cloud-guest-utils", "dosfstools", "e2fsprogs", "fdisk", "grub-efi-amd64-bin", "grub-pc-bin", "grub2-common",
  "initramfs-tools", "kmod", "lvm2", "thin-provisioning-tools", "zstd",
]

# Beside what needs a screen: mounts and modules that nothing here asks for, each a program started at every boot.
kernel_masked_units = [
  "getty@tty1.service", "grub-common.service", "modprobe@configfs.service", "modprobe@drm.service",
  "modprobe@efi_pstore.service", "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
  "systemd-network-generator.service", "systemd-udev-load-credentials.service",
]

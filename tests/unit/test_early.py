"""What a virtual machine is told for SSH to answer before cloud-init, from the seed's own files."""

from __future__ import annotations

from rackbox.early import early_files

USER_DATA = """\
#cloud-config
users:
  - name: "vagrant"
    ssh_authorized_keys:
      - "ssh-ed25519 AAAA user"
ssh_keys:
  ed25519_private: "-----BEGIN\\nkey\\n-----END\\n"
  ed25519_public: "ssh-ed25519 BBBB master1"
"""
NETWORK = """\
version: 2
ethernets:
  "mgmt":
    match:
      macaddress: "02:00:00:00:00:01"
    set-name: "mgmt"
    accept-ra: false
    optional: true
    dhcp4: true
    dhcp4-overrides:
      use-dns: true
      use-domains: "true"
      use-ntp: false
      use-hostname: false
      use-routes: false
  "dmz":
    match:
      macaddress: "02:00:00:00:00:02"
    set-name: "dmz"
    accept-ra: false
    dhcp4: false
    addresses: ["192.168.4.2/24"]
    routes:
      - to: 0.0.0.0/0
        via: "192.168.4.1"
"""


def test_a_login_has_what_user_data_says() -> None:
    files = early_files(USER_DATA, NETWORK)
    assert files["user"] == "vagrant\n"
    assert files["authorized_key"] == "ssh-ed25519 AAAA user\n"
    assert files["ssh_host_ed25519_key"] == "-----BEGIN\nkey\n-----END\n"
    assert files["ssh_host_ed25519_key.pub"] == "ssh-ed25519 BBBB master1\n"


def test_nics_have_what_network_config_says() -> None:
    files = early_files(USER_DATA, NETWORK)
    assert files["addresses"] == "dmz 192.168.4.2 255.255.255.0\n"
    later = NETWORK.replace('set-name: "dmz"', 'set-name: "dmz"\n    optional: true')
    assert early_files(USER_DATA, later)["addresses"] == "", "what is optional comes after the firewall"
    assert files["05-rackbox-dmz.link"] == "[Match]\nMACAddress=02:00:00:00:00:02\nType=ether\n\n[Link]\nName=dmz\n"
    assert files["05-rackbox-dmz.network"].splitlines() == [
        *("[Match]", "Name=dmz", ""),
        *("[Link]", "RequiredForOnline=yes", ""),
        *("[Network]", "DHCP=no", "IPv6AcceptRA=no", "Address=192.168.4.2/24", ""),
        *("[Route]", "Destination=0.0.0.0/0", "Gateway=192.168.4.1"),
    ]
    assert files["05-rackbox-mgmt.network"].splitlines() == [
        *("[Match]", "Name=mgmt", ""),
        *("[Link]", "RequiredForOnline=no", ""),
        *("[Network]", "DHCP=ipv4", "IPv6AcceptRA=no", ""),
        *("[DHCPv4]", "UseDNS=yes", "UseDomains=true", "UseNTP=no", "UseHostname=no", "UseRoutes=no"),
    ]

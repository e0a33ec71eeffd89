"""What a virtual machine has to know for SSH to answer without waiting for cloud-init, which takes many seconds where
it is emulated. Pure; entry point: ``early_files``.

The box's own initramfs (packer/rootfs/kernel-files) takes the files from the seed's directory ``early``. They say what
the seed's user-data and network-config say, of which they are made; cloud-init comes to the same later. The network's
are systemd.link(5) and systemd.network(5), before those that cloud-init writes, and once more the fixed address of the
NIC that a machine is managed by (the one that is not optional), which the initramfs sets itself: systemd-networkd takes
seconds to start. The others come after the machine's firewall, as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface
from typing import Any

import yaml

DIRECTORY = "early"


def early_files(user_data: str, network_config: str) -> dict[str, str]:
    """Texts by file name, from a seed of cloud-init's: ``user``, ``authorized_key``, the host key and its public part,
    ``addresses`` (``NIC ADDRESS NETMASK``, the first of each NIC that is not optional), and a ``.link`` and a
    ``.network`` for each NIC. Raises ``KeyError`` for a seed that is not ours, ``ValueError`` for an address that is
    not IPv4's."""
    user = yaml.safe_load(user_data)
    account, keys = user["users"][0], user["ssh_keys"]
    files = {
        "user": f"{account['name']}\n",
        "authorized_key": "".join(f"{key}\n" for key in account["ssh_authorized_keys"]),
        "ssh_host_ed25519_key": keys["ed25519_private"].rstrip("\n") + "\n",
        "ssh_host_ed25519_key.pub": keys["ed25519_public"].rstrip("\n") + "\n",
    }
    nics = yaml.safe_load(network_config)["ethernets"]
    files["addresses"] = "".join(
        f"{name} {fixed.ip} {fixed.netmask}\n"
        for name, nic in nics.items()
        if not nic.get("optional", False)
        for fixed in map(IPv4Interface, nic.get("addresses", [])[:1])
    )
    for name, nic in nics.items():
        mac = nic["match"]["macaddress"]
        files[f"05-rackbox-{name}.link"] = f"[Match]\nMACAddress={mac}\nType=ether\n\n[Link]\nName={name}\n"
        files[f"05-rackbox-{name}.network"] = _network(name, nic)
    return files


def _network(name: str, nic: Mapping[str, Any]) -> str:
    lines = ["[Match]", f"Name={name}", "", "[Link]", f"RequiredForOnline={_word(not nic.get('optional', False))}"]
    lines += ["", "[Network]", f"DHCP={'ipv4' if nic['dhcp4'] else 'no'}"]
    lines += [f"IPv6AcceptRA={_word(nic.get('accept-ra', True))}"]
    lines += [f"Address={address}" for address in nic.get("addresses", [])]
    for route in nic.get("routes", []):
        lines += ["", "[Route]", f"Destination={route['to']}", f"Gateway={route['via']}"]
    if nic["dhcp4"]:
        asked = {"dns": "UseDNS", "domains": "UseDomains", "ntp": "UseNTP"}
        asked |= {"hostname": "UseHostname", "routes": "UseRoutes"}
        overrides = nic.get("dhcp4-overrides", {})
        lines += ["", "[DHCPv4]"]
        lines += [f"{asked[key.removeprefix('use-')]}={_word(value)}" for key, value in overrides.items()]
    return "\n".join([*lines, ""])


def _word(value: Any) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"

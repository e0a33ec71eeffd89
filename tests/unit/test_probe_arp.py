"""ARP by hand: frames, the kernel's own tables as text, and the probe at work in a network of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from rackbox.paths import PROJECT
from rackbox.probes import ProbeSettings
from rackbox.probes.endpoints import AddressEndpoint
from rackbox.probes.floating_ip_arp import find_interface, pack_question, read_neighbour, unpack
from rackbox.recorder import load_history

VIP = IPv4Address("192.168.4.20")
ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
dmz\t00000000\tFE04A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
mgmt\t00FF640A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
dmz\t0004A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
dmz\t0001A8C0\tFE04A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
NEIGHBOURS = """IP address       HW type     Flags       HW address            Mask     Device
192.168.4.20     0x1         0x2         02:14:BF:bd:cd:a8     *        dmz
192.168.4.21     0x1         0x0         00:00:00:00:00:00     *        dmz
"""


def reply(to: bytes, mac: str, address: IPv4Address = VIP) -> bytes:
    """How a Linux kernel answers a who-has: the asker's addresses become the target's."""
    body = bytes.fromhex("0001080006040002") + bytes.fromhex(mac.replace(":", "")) + address.packed
    return to[6:12] + bytes(6) + b"\x08\x06" + body + to[22:28] + to[28:32]


def test_a_question_tells_nobody_anything() -> None:
    frame = pack_question(0x010203, VIP)
    assert frame[:14].hex(" ") == "ff ff ff ff ff ff 02 72 62 01 02 03 08 06"
    assert frame[14:].hex(" ") == (
        "00 01 08 00 06 04 00 01 02 72 62 01 02 03 00 00 00 00 00 00 00 00 00 00 c0 a8 04 14"
    ), "RFC 5227: an ARP probe's sender address is 0.0.0.0, so no table changes"


def test_an_answer_belongs_to_its_question() -> None:
    found = unpack(reply(pack_question(77, VIP), "02:14:bf:bd:cd:a8"))
    assert found is not None
    assert (found.reply, found.sender, found.sender_address, found.asked_by) == (True, "02:14:bf:bd:cd:a8", VIP, 77)


def test_an_announcement_is_nobodys_answer() -> None:
    body = bytes.fromhex("0001080006040001 0214bfbdcda8 c0a80414 ffffffffffff c0a80414")
    found = unpack(b"\xff" * 6 + bytes.fromhex("0214bfbdcda8") + b"\x08\x06" + body + bytes(18))
    assert found is not None
    assert (found.reply, found.asked_by, found.target_address) == (False, None, VIP)


@pytest.mark.parametrize(
    "frame", [b"", pack_question(1, VIP)[:40], b"\0" * 42, pack_question(1, VIP)[:20] + b"\0" * 22]
)
def test_other_frames_are_passed_over(frame: bytes) -> None:
    assert unpack(frame) is None


def test_the_interface_is_the_one_on_the_address_own_network() -> None:
    assert find_interface(VIP, ROUTES) == "dmz"
    with pytest.raises(ValueError, match=r"192\.168\.1\.5 is on no network of this place"):
        find_interface(IPv4Address("192.168.1.5"), ROUTES)


@pytest.mark.parametrize(
    ("address", "interface", "mac"),
    [
        ("192.168.4.20", "dmz", "02:14:bf:bd:cd:a8"),
        ("192.168.4.21", "dmz", ""),
        ("192.168.4.20", "mgmt", ""),
        ("192.168.4.2", "dmz", ""),
    ],
)
def test_the_kernels_entry(address: str, interface: str, mac: str) -> None:
    assert read_neighbour(NEIGHBOURS, address, interface) == mac


# --- at work

STAGE = """
set -euo pipefail
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
ip link add clients type bridge forward_delay 0
ip address add 192.168.4.1/24 dev clients
ip link set clients up
for machine in one two; do
  ip netns add $machine
  ip link add $machine type veth peer name eth0 netns $machine
  ip link set $machine master clients up
done
ip -n one link set eth0 address 02:00:00:00:00:01 up
ip -n two link set eth0 address 02:00:00:00:00:02 up
hold() { ip -n "$1" address add 192.168.4.20/24 dev eth0; }
"$@" <&0 &
probe=$!
until grep -q attempt "$HISTORY"; do sleep 0.1; done
sleep 0.3
hold one
sleep 0.5
echo hello >/dev/udp/192.168.4.20/9
sleep 0.3
hold two
sleep 0.5
ip -n one address flush dev eth0
sleep 0.5
kill $probe
wait $probe
"""


@pytest.mark.subprocess
@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own needs root")
def test_one_holder_two_holders_none(tmp_path: Path) -> None:
    """In a private network namespace: nothing of it is left when its last process ends."""
    history = tmp_path / "history.jsonl"
    settings = ProbeSettings("floating-ip-arp", history, "run", AddressEndpoint(str(VIP)), 0.02, 0.1, 20.0)
    argv = [sys.executable, "-m", "rackbox.probes.runner", *settings.argv()]
    stage = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", STAGE, "stage", *argv]
    done = subprocess.run(
        stage,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={**os.environ, "HISTORY": str(history)},
    )
    assert done.returncode == 0, done.stderr
    seen: list[str] = []
    for attempt in load_history(history).attempts("floating-ip-arp"):
        word = attempt.detail if attempt.good else "nobody"
        if not seen or seen[-1] != word:
            seen.append(word)
    one, two = "02:00:00:00:00:01", "02:00:00:00:00:02"
    assert seen == ["nobody", one, f"{one} {two}", two]
    neighbours = [record.text("mac") for record in load_history(history).events("neighbour")]
    assert neighbours[:2] == ["", one], "the probe's own asking must not fill the kernel's table: a packet did"

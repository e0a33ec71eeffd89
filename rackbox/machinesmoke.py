"""What a virtual machine says of its disk and of its boot from inside, and what is wrong with that. Pure.

``SCRIPT`` is run, as root, in each of a box's smoke machines and prints one JSON object; ``judge_box`` judges all of
them together, ``read_figures`` has the times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rackbox.layout import EXTENT_MIB, Layout
from rackbox.smoke import SCRIPT as COMMON_SCRIPT
from rackbox.smoke import judge_said

MIB = 1 << 20
UNITS = {
    "cloud_init": "cloud-init.target",
    "ssh": "ssh.service",
    "all": "multi-user.target",
}
"""Whose end is told, as seconds since the kernel began."""
NETWORK_STAGES = ("cloud-init-network.service", "cloud-init.service")
"""The stage of cloud-init that everything would wait for: today's name, and the one before 24.3."""

SCRIPT = rf"""
set -euo pipefail
export RACKBOX_SMOKE_WAIT=240 # SSH answers long before an emulated machine is up
machine=$({COMMON_SCRIPT})
lvm=$(lvm fullreport --reportformat json --units b --nosuffix \
  --configreport vg -o vg_name,vg_size,vg_free,vg_extent_count,vg_free_count \
  --configreport lv -o lv_name,lv_size,lv_layout --configreport pv -o pv_name \
  --configreport pvseg -o pvseg_start --configreport seg -o segtype)
filesystems=$(findmnt --json --real --list --output TARGET,SOURCE,FSTYPE,LABEL,SIZE,USED --bytes)
fstab=$(findmnt --json --fstab --list --output TARGET,SOURCE,FSTYPE)
verify=$(findmnt --verify 2>&1 || true)
ends={{}}
for unit in {" ".join((*UNITS.values(), *NETWORK_STAGES))}; do
  at=$(systemctl show --value --property ActiveEnterTimestampMonotonic "$unit")
  ends=$(jq --arg unit "$unit" --argjson at "${{at:-0}}" '.[$unit] = $at / 1000000' <<<"$ends")
done
analyze=$(systemd-analyze time 2>&1 || true)
blame=$(systemd-analyze blame --no-pager 2>&1 | sed -n 1,20p)
warnings=$(journalctl --boot --priority warning --no-pager --quiet --output cat | sed -n 1,40p)
# What the initramfs set (klibc's ipconfig says so), and what there is in the end.
early=$(sed -n "s/^IPV4ADDR='\(.*\)'/\1/p" /run/net-*.conf 2>/dev/null || true)
addresses=$(ip -json -4 address show scope global | jq -r '.[].addr_info[].local')
firmware=BIOS
[ ! -d /sys/firmware/efi ] || firmware=UEFI
read -r uptime _ </proc/uptime
jq -n --argjson machine "$machine" --argjson lvm "$lvm" --argjson filesystems "$filesystems" --argjson fstab "$fstab" \
  --arg verify "$verify" --arg kernel "$(uname -r)" --argjson uptime "$uptime" --argjson ends "$ends" \
  --arg analyze "$analyze" --arg blame "$blame" --arg warnings "$warnings" --arg firmware "$firmware" \
  --arg early "$early" --arg addresses "$addresses" \
  '$machine + {{lvm: $lvm, filesystems: $filesystems, fstab: $fstab, verify: $verify, kernel: $kernel, uptime: $uptime,
    ends: $ends, analyze: $analyze, blame: $blame, warnings: $warnings, firmware: $firmware,
    early: ($early / "\n"), addresses: ($addresses / "\n")}}'
"""


def judge_box(layout: Layout, said: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each thing that is wrong; empty for machines that came up clean on the disk that was asked for."""
    mounts = ["/boot", *(volume.mount for volume in layout.volumes)]
    problems = judge_said(dict.fromkeys(said, mounts), said)
    for name, words in said.items():
        problems += [f"{name}: {text}" for text in _judge_words(layout, words)]
    return problems


def _judge_words(layout: Layout, said: Mapping[str, Any]) -> list[str]:
    return [*_judge_group(layout, said), *_judge_mounts(layout, said), *_judge_order(said), *_judge_address(said)]


def _judge_order(said: Mapping[str, Any]) -> list[str]:
    """SSH does not wait for cloud-init (``rackbox.early``)."""
    ends = said.get("ends", {})
    ssh, stage = float(ends.get(UNITS["ssh"], 0)), max(float(ends.get(unit, 0)) for unit in NETWORK_STAGES)
    if 0 < ssh < stage:
        return []
    return [
        f"SSH: must not wait for cloud-init; got SSH after {ssh:.1f} s, cloud-init's network stage after {stage:.1f} s"
    ]


def _judge_address(said: Mapping[str, Any]) -> list[str]:
    """A smoke machine has one network card, whose address the initramfs sets and systemd-networkd leaves as it is."""
    early, addresses = said.get("early", []), said.get("addresses", [])
    if len(early) == 1 and early[0] and early == addresses:
        return []
    return [f"network: the initramfs must set the only address; got {early} from it, {addresses} in the end"]


def _judge_group(layout: Layout, said: Mapping[str, Any]) -> list[str]:
    groups = {row["vg_name"]: (row, report.get("lv", [])) for report, row in _groups(said)}
    if list(groups) != [layout.group]:
        return [f"LVM: must have the group {layout.group} alone; got {', '.join(groups) or 'none'}"]
    row, volumes = groups[layout.group]
    problems = []
    extents, free = int(row["vg_extent_count"]), int(row["vg_free_count"])
    if extents != layout.extents:
        problems.append(f"LVM: the group must have {layout.extents} extents; got {extents}")
    if free != layout.free_mib // EXTENT_MIB:
        problems.append(f"LVM: {layout.free_mib // EXTENT_MIB} extents must be free; got {free}")
    wanted = {volume.name: volume.size_mib for volume in layout.volumes}
    got = {volume["lv_name"]: int(volume["lv_size"]) // MIB for volume in volumes}
    for name in sorted(wanted.keys() | got.keys()):
        if wanted.get(name) != got.get(name):
            problems.append(f"LVM: {name} must have {_mib(wanted.get(name))}; got {_mib(got.get(name))}")
    return problems


def _groups(said: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    reports = said.get("lvm", {}).get("report", [])
    return [(report, row) for report in reports for row in report.get("vg", [])]


def _judge_mounts(layout: Layout, said: Mapping[str, Any]) -> list[str]:
    mounted = {row["target"]: row for row in said.get("filesystems", {}).get("filesystems", [])}
    in_fstab = {row["target"]: row["source"] for row in said.get("fstab", {}).get("filesystems", [])}
    problems = []
    for volume in layout.volumes:
        row = mounted.get(volume.mount, {})
        if row.get("source") != layout.device(volume.name):
            got = row.get("source") or "nothing"
            problems.append(f"{volume.mount}: must be {layout.device(volume.name)}; got {got}")
        if in_fstab.get(volume.mount) != layout.device(volume.name):
            problems.append(f"fstab: {volume.mount} must be there; got {in_fstab.get(volume.mount) or 'nothing'}")
    if mounted.get("/boot", {}).get("source", "/dev/mapper/").startswith("/dev/mapper/"):
        problems.append("/boot: must be a partition of its own")
    if (verify := said.get("verify", "")) and "Success" not in verify:
        problems.append(f"fstab: {verify.strip().splitlines()[-1]}")
    return problems


def _mib(size: int | None) -> str:
    return "nothing" if size is None else f"{size} MiB"


def read_figures(said: Mapping[str, Any], asked_s: float, banner_s: float) -> dict[str, float]:
    """Seconds since power-on. ``asked_s`` is when the machine said all this, ``banner_s`` when SSH first answered."""
    kernel_s = asked_s - float(said["uptime"])
    ends = {key: float(said["ends"].get(unit, 0)) for key, unit in UNITS.items()}
    return {
        "kernel_s": round(kernel_s, 1),
        "ssh_s": round(banner_s, 1),
        **{f"{key}_done_s": round(kernel_s + at, 1) for key, at in ends.items() if at},
    }


def read_analyze(said: Mapping[str, Any]) -> str:
    """systemd's own line: kernel + initrd + userspace."""
    match = re.search(r"Startup finished in (.*)", str(said.get("analyze", "")))
    return match[1] if match else ""


def slowest(said: Mapping[str, Any], count: int = 8) -> Sequence[str]:
    return [" ".join(line.split()) for line in str(said.get("blame", "")).splitlines()[:count]]

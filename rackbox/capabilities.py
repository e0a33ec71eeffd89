"""What this computer and its kernel can do, found out by doing it in namespaces that vanish with the probe.

``CHECKS`` is the registry: a provider adds its own checks as one entry. No probe leaves anything behind.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rackbox.cgroups import host_view
from rackbox.errors import LabError
from rackbox.kvm import SOUND_TCG, prove_kvm, qemu_version
from rackbox.run import run
from rackbox.tools import (
    BACKPORTS,
    Check,
    Probe,
    check_package,
    check_version,
    find_user_home,
    load_packages,
    parse_version,
)

GIB = 2**30
LEAST_DISK_GIB = 4  # the box (1 GiB as archive and tree), its build, and what 11 machines write
LEAST_MEMORY_GIB = 3
LEAST_DISK_VM_GIB = 8  # as above; a box of volumes, and the disks of a small lab
PROBE_TIMEOUT_S = 10.0

BRIDGE_SCRIPT = """
ip link add br0 type bridge
ip link add v0 type veth peer name v1
ip link set v0 master br0
ip link set v0 type bridge_slave isolated on
ip -d link show v0 | grep -q 'isolated on'
"""
NFT_SCRIPT = """
nft -f - <<'END'
table ip t {
  chain f {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
  }
  chain p {
    type nat hook postrouting priority srcnat;
    ip saddr 192.168.0.0/16 masquerade
  }
}
END
"""
OVERLAY_SCRIPT = """
cd "$1"
mkdir lower upper work merged
echo seen > lower/file
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
test "$(cat merged/file)" = seen
rm merged/file
"""


def check_python() -> Check:
    version = sys.version_info[:3]
    return Check("python", version >= (3, 11), ".".join(map(str, version)), "3.11 or newer", package="python3")


def check_root() -> Check:
    uid = os.geteuid()
    fix = "run as root: machines with networks and mounts of their own need it"
    return Check("root", uid == 0, "yes" if uid == 0 else f"user id {uid}", "root", fix)


def check_vagrant() -> Check:
    return check_version("vagrant", ["vagrant", "--version"], (2, 2), "Vagrant")


def check_packer() -> Check:
    quiet = {"CHECKPOINT_DISABLE": "1"}  # or it asks its maker over the network whether it is up to date
    return check_version("packer", ["packer", "version"], (1, 6, 6), "Packer", quiet)


def check_plugin(name: str) -> Check:
    """A plugin of Vagrant's (``vagrant-lxc``), looked for on disk: `vagrant plugin list` is slow. Debian's Vagrant sees
    both places, others the second."""
    places = (Path("/usr/share/rubygems-integration/all/gems"), find_user_home().vagrant / "gems")
    gems = [gem.name for place in places for gem in sorted(place.glob(f"**/{name}-[0-9]*")) if gem.is_dir()]
    versions = [".".join(map(str, version)) for gem in gems if (version := parse_version(gem.removeprefix(f"{name}-")))]
    found = versions[0] if versions else "not found"
    return Check(name, bool(versions), found, "any version", package=name)


def check_libvirtd() -> Check:
    """virsh and Vagrant's plugin are there on many computers that have no daemon. Isolated ports came with 6.1."""
    check = check_version("libvirt-daemon", ["libvirtd", "--version"], (6, 1), "libvirt")
    return replace(check, need="libvirtd 6.1 or newer, not started: each lab starts its own")


def check_virtualbox() -> Check:
    """Host-only networks are as networks.conf allows them since 6.1.28."""
    check = check_version("virtualbox", ["VBoxManage", "--version"], (6, 1))
    fix = "a release from virtualbox.org/wiki/Linux_Downloads; Debian 12 and 13 have none"
    return replace(check, package="", fix="" if check.ok else fix)


def check_virtualbox_module() -> Check:
    there = Path("/dev/vboxdrv").exists()
    fix = "as root: /sbin/vboxconfig, or (in a container) nothing helps"
    return Check("vboxdrv", there, "loaded" if there else "not loaded", "VirtualBox's kernel module", fix)


def _vagrant_gems() -> list[Path]:
    """Where Debian's Vagrant is, and that of its makers, whose directory is large: it is not for every import."""
    return [Path("/usr/share/rubygems-integration/all/gems"), *Path("/opt/vagrant/embedded/gems").glob("**/gems")]


def check_virtualbox_driver(gems: Sequence[Path] = ()) -> Check:
    """Vagrant refuses a VirtualBox that is newer than it knows."""
    try:
        found = parse_version(run(["VBoxManage", "--version"], timeout=PROBE_TIMEOUT_S, check=False).stdout) or ()
    except LabError:
        found = ()
    where = "vagrant-[0-9]*/plugins/providers/virtualbox/driver/*.rb"
    drivers = [path for top in gems or _vagrant_gems() for path in top.glob(where)]
    names = [path.stem.removeprefix("version_") for path in drivers if path.stem.startswith("version_")]
    known = sorted(tuple(map(int, name.split("_"))) for name in names)
    need = "a Vagrant that knows this VirtualBox"
    if not known or not found:
        return Check("vagrant and virtualbox", True, "not asked: one of them was not found", need, required=False)
    newest = ".".join(map(str, known[-1]))
    fix = "a newer Vagrant, or an older VirtualBox"
    return Check("vagrant and virtualbox", found[:2] in known, f"Vagrant knows up to {newest}", need, fix)


def check_vagrant_lxc() -> Check:
    return check_plugin("vagrant-lxc")


def check_qemu() -> Check:
    """Old QEMU emulates current kernels wrongly; on KVM it does not emulate them."""
    version = qemu_version()
    need = f"{SOUND_TCG} or newer to emulate (7.2 corrupts Linux 6.12 guests); any on KVM"
    package = f"qemu-system-x86{BACKPORTS}"
    if not version:
        return Check("qemu", False, "not found", need, package=package)
    ok = version[0] >= SOUND_TCG or prove_kvm().works
    return Check("qemu", ok, ".".join(map(str, version)), need, package="" if ok else package)


def check_kvm_works() -> Check:
    kvm = prove_kvm()
    fix = "switch virtualisation on in the firmware (or, in a virtual machine, nested virtualisation on its host)"
    return Check("kvm", kvm.works, kvm.reason, "a guest that runs and answers", "" if kvm.works else fix)


def check_accelerator() -> Check:
    """The same, told: without KVM machines are emulated."""
    kvm = prove_kvm()
    found = f"KVM: {kvm.reason}" if kvm.works else f"emulated, some ten times slower: {kvm.reason}"
    return Check("machines", True, found, "KVM, or emulation", required=False)


def check_network_namespace() -> Check:
    fix = "the kernel must allow network namespaces with bridges, veth pairs and isolated bridge ports (Linux 4.18)"
    return _run_apart("network", ["--net"], BRIDGE_SCRIPT, "isolated bridge ports", fix, tool="ip")


def check_nft() -> Check:
    fix = "the kernel must have nf_tables with connection tracking and NAT (modules nf_tables, nft_ct, nft_masq)"
    return _run_apart("packet rules", ["--net"], NFT_SCRIPT, "tracking, NAT", fix, tool="nft")


def check_overlay() -> Check:
    """On the very file system that labs will be kept on: overlayfs refuses some (another overlay, NFS)."""
    kept = existing_directory(find_user_home().data)
    need = f"overlayfs on {kept}"
    fix = "set RACKBOX_HOME to a directory on a plain local file system (ext4, xfs, btrfs)"
    try:
        work = tempfile.mkdtemp(prefix=".rackbox-doctor-", dir=kept)
    except OSError as error:
        return Check("clones", False, f"{kept}: {error.strerror}", need, fix)
    try:
        return _run_apart("clones", ["--mount", "--propagation", "private"], OVERLAY_SCRIPT, need, fix, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_fuse() -> Check:
    fix = "modprobe fuse, or (in a container) be given the device: Gluster volumes are mounted through it"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return Check("fuse", False, f"/dev/fuse: {error.strerror}", "/dev/fuse opens", fix)
    return Check("fuse", True, "opens", "/dev/fuse opens", fix)


def check_cgroups() -> Check:
    """Reported, since each arrangement works but only pure v2 can limit a machine's memory."""
    found = host_view()
    return Check("cgroups", True, found, "any", required=False)


def check_disk(least_gib: int = LEAST_DISK_GIB) -> Check:
    kept = existing_directory(find_user_home().data)
    free = shutil.disk_usage(kept).free / GIB
    fix = "make room, or set RACKBOX_HOME to a directory that has it"
    return Check("disk", free >= least_gib, f"{free:.1f} GiB free on {kept}", f"{least_gib} GiB", fix)


def check_memory() -> Check:
    available = parse_available_kib(Path("/proc/meminfo").read_text(encoding="ascii")) * 1024 / GIB
    fix = "end other programs, or boot a smaller lab (--lab config/small.yaml)"
    need = f"{LEAST_MEMORY_GIB} GiB (default lab)"
    # Not required: a small lab needs less, and a lab that is up already has its share.
    return Check("memory", available >= LEAST_MEMORY_GIB, f"{available:.1f} GiB available", need, fix, required=False)


def parse_available_kib(meminfo: str) -> int:
    """``MemAvailable`` of /proc/meminfo, in KiB (proc(5)); 0 where the kernel does not say."""
    lines = (line.split() for line in meminfo.splitlines())
    return next((int(fields[1]) for fields in lines if fields and fields[0] == "MemAvailable:"), 0)


def _run_apart(
    name: str, namespaces: list[str], script: str, need: str, fix: str, *args: str, tool: str = "sh"
) -> Check:
    """Run ``script``, which uses ``tool``, in new namespaces of its own, which end with it."""
    lacking = "root" if os.geteuid() != 0 else tool if shutil.which(tool) is None else ""
    if lacking:  # has a line of its own that says how to get it
        return Check(name, False, f"not tried without {lacking}", need)
    argv = ["unshare", *namespaces, "sh", "-euc", script, "sh", *args]
    try:
        result = run(argv, timeout=PROBE_TIMEOUT_S, check=False)
    except LabError as error:
        return Check(name, False, error.message.splitlines()[0], need, fix)
    said = (result.stderr + result.stdout).strip().splitlines()
    return Check(name, result.ok, "works" if result.ok else (said or ["does not work"])[0], need, fix)


def existing_directory(path: Path) -> Path:
    """``path``, or the nearest directory above it that is there."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def _lxc_checks() -> tuple[Probe, ...]:
    asked = {"vagrant", "vagrant-lxc", "packer", "lxc", "mmdebstrap"}
    simple = tuple(partial(check_package, package) for package in load_packages("lxc") if package.name not in asked)
    return (
        check_root,
        check_vagrant,
        check_vagrant_lxc,
        check_packer,
        partial(check_version, "lxc", ["lxc-start", "--version"], (4,)),
        partial(check_version, "mmdebstrap", ["mmdebstrap", "--version"], (1,), "mmdebstrap"),
        *simple,
        check_network_namespace,
        check_nft,
        check_overlay,
        check_fuse,
        check_cgroups,
        check_disk,
        check_memory,
    )


def check_qemu_emulates() -> Check:
    """Versions before 8 do not emulate soundly: 7.2 was seen to corrupt Linux 6.12, whatever the processor model."""
    argv = ["qemu-system-x86_64", "--version"]
    return replace(check_version("qemu", argv, (8,), "QEMU"), package=_vm_package("qemu-system-x86"))


def check_qemu_img() -> Check:
    """zstd inside of qcow2 came with 5.1."""
    return replace(check_version("qemu-img", ["qemu-img", "--version"], (5, 1)), package=_vm_package("qemu-utils"))


def check_mke2fs() -> Check:
    """It fills a file system from a directory, extended attributes included, from 1.43.4 on."""
    return replace(check_version("mke2fs", ["mke2fs", "-V"], (1, 43, 4), "mke2fs"), package="e2fsprogs")


def check_tap() -> Check:
    """The machines of a gate, and of a lab, are reached by one."""
    fix = "`modprobe tun`; a container must be given the device"
    return Check("tap devices", Path("/dev/net/tun").is_char_device(), "/dev/net/tun", "no device /dev/net/tun", fix)


def _vm_package(name: str) -> str:
    return next(package.name for package in load_packages("vm") if package.name.split("/")[0] == name)


def _vm_build_checks() -> tuple[Probe, ...]:
    asked = {"packer", "mmdebstrap", "qemu-system-x86", "qemu-utils", "e2fsprogs"}
    packages = (package for package in load_packages("vm") if package.name.split("/")[0] not in asked)
    return (
        check_build_root,
        check_packer,
        partial(check_version, "mmdebstrap", ["mmdebstrap", "--version"], (1,), "mmdebstrap"),
        check_qemu_emulates,
        check_qemu_img,
        check_mke2fs,
        check_tap,
        *(partial(check_package, package) for package in packages),
        check_disk,
    )


def check_build_root() -> Check:
    uid = os.geteuid()
    fix = "run as root: a box's tree has files of many owners"
    return Check("root", uid == 0, "yes" if uid == 0 else f"user id {uid}", "root", fix)


def check_go_toolchain() -> Check:
    """Only what is built here of a bundle of Kubernetes needs Go; a lab does not."""
    from rackbox.bundle_pins import load_pins
    from rackbox.golang import check_go, go_directive

    return check_go(max(go_directive(module) for module in load_pins().modules.values()))


def check_c_compiler() -> Check:
    """The same is true of a C compiler."""
    from rackbox.golang import check_compiler

    return check_compiler()


def _libvirt_checks() -> tuple[Probe, ...]:
    asked = {"vagrant", "vagrant-libvirt", "libvirt-daemon", f"qemu-system-x86{BACKPORTS}"}
    simple = (partial(check_package, package) for package in load_packages("libvirt") if package.name not in asked)
    return (
        check_root,
        check_vagrant,
        partial(check_plugin, "vagrant-libvirt"),
        check_qemu,
        check_libvirtd,
        *simple,
        check_accelerator,
        check_network_namespace,
        check_nft,
        partial(check_disk, LEAST_DISK_VM_GIB),
        check_memory,
    )


CHECKS: Mapping[str, tuple[Probe, ...]] = {
    "lxc": _lxc_checks(),
    "libvirt": _libvirt_checks(),
    "libvirt+kvm": (check_kvm_works, *_libvirt_checks()),
    "virtualbox": (
        check_root,
        check_vagrant,
        check_virtualbox,
        check_virtualbox_driver,
        check_virtualbox_module,
        *(partial(check_package, package) for package in load_packages("libvirt") if package.name == "xorriso"),
        partial(check_disk, LEAST_DISK_VM_GIB),
        check_memory,
    ),
}
NOTES: Mapping[str, tuple[Probe, ...]] = {
    "lxc": (check_accelerator, check_go_toolchain, check_c_compiler),
    "libvirt": (check_go_toolchain, check_c_compiler),
}
"""Told beside a provider's checks."""
BUILD_CHECKS: Mapping[str, tuple[Probe, ...]] = {
    "lxc": CHECKS["lxc"],
    "libvirt": _vm_build_checks(),
    "virtualbox": _vm_build_checks(),
}
"""What building a box needs, by provider: a box can be built where its machines cannot run."""

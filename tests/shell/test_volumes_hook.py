"""The hooks that make and grow a machine's volumes, against an LVM that is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rackbox.paths import PROJECT

HOOKS = ("common/05-make-volumes.sh", "common/06-make-pools.sh")
FAKES = {
    "systemd-detect-virt": "exit ${CONTAINER:-1}",
    "pvs": """
case $* in
  *pv_size*vdb) echo "  $(<$STATE/pv_size)S" ;;
  *rackbox_brick*) echo '  /dev/vdb' ;;
  *) echo '  /dev/vda4' ;;
esac""",
    "lvs": """
case $* in
  *lv_attr*rackbox_brick*) [[ ! -e $STATE/thin ]] || cat $STATE/thin ;;
  *rackbox_brick/brick*) cat $STATE/brick_size ;;
  *) cat $STATE/lvs ;;
esac""",
    "vgs": """
case $* in
  *vg_name*rackbox_brick*) ;;
  *rackbox_brick*) cat $STATE/brick_free ;;
  *) cat $STATE/free ;;
esac""",
    "blkid": "case $* in */vdb) [[ ! -e $STATE/blank ]] || exit 2 ;; */brick*) [[ -e $STATE/thin ]] || exit 2 ;; esac",
    **{
        name: f'echo "{name} $*" >>$STATE/calls'
        for name in ("pvcreate", "vgcreate", "lvconvert", "mkfs.xfs", "vgremove")
    },
    "lvcreate": 'echo "lvcreate $*" >>$STATE/calls',
    "lvextend": 'echo "lvextend $*" >>$STATE/calls',
    "mkfs.ext4": 'echo "mkfs.ext4 $*" >>$STATE/calls',
    "mount": 'echo "mount $*" >>$STATE/calls',
    "mountpoint": "exit 1",
    "growpart": 'echo "growpart $*" >>$STATE/calls',
    "pvresize": 'echo "pvresize $*" >>$STATE/calls',
}


class Guest:
    """A machine's root directory, and the programs that its hook finds."""

    def __init__(self, top: Path) -> None:
        self.root, self.state, self.bin = top / "root", top / "state", top / "bin"
        block = self.root / "sys/devices/vda"
        (self.root / "sys/devices/vdb").mkdir(parents=True)
        for directory in (self.state, self.bin, self.root / "etc", block / "vda4", self.root / "sys/class/block"):
            directory.mkdir(parents=True)
        for name, text in {"start": "1000000", "size": "60000000", "partition": "4"}.items():
            (block / "vda4" / name).write_text(f"{text}\n")
        for name, target in {"vda": "vda", "vda4": "vda/vda4", "vdb": "vdb"}.items():
            (self.root / "sys/class/block" / name).symlink_to(self.root / "sys/devices" / target)
        self.set_disk(61000033)
        self.set_disk(5120 * 2048, "vdb")
        (self.root / "etc/fstab").write_text("LABEL=boot /boot ext4 defaults 0 2\n")
        (self.state / "lvs").write_text("  root 1024.00\n  var 4096.00\n")
        (self.state / "free").write_text("  20000.00\n")
        self.library = top / "library"
        (self.library / "common").mkdir(parents=True)
        for hook in HOOKS:
            shutil.copy(PROJECT / "provision" / hook, self.library / hook)
        for name in ("lib.sh", "lvm.sh"):
            shutil.copy(PROJECT / "provision/lib" / name, self.library / name)
        for name, script in FAKES.items():
            (self.bin / name).write_text(f"#!/bin/bash\n{script}\n")
            (self.bin / name).chmod(0o755)

    def set_disk(self, sectors: int, disk: str = "vda") -> None:
        (self.root / "sys/devices" / disk / "size").write_text(f"{sectors}\n")

    def run(self, volumes: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.state / "calls").unlink(missing_ok=True)
        env = {"PATH": f"{self.bin}:{os.environ['PATH']}", "STATE": str(self.state), "RACKBOX_ROOT": str(self.root)}
        env |= {"RACKBOX_VOLUMES": volumes, **environment}
        for hook in HOOKS:
            argv = [self.library / hook]
            done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=False)
            if done.returncode:
                break
        return done

    @property
    def calls(self) -> list[str]:
        path = self.state / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_a_volume_is_made_and_mounted_now_and_at_every_boot(guest: Guest) -> None:
    done = guest.run("etcd:/var/lib/etcd:2048")
    assert done.returncode == 0, done.stderr
    assert guest.calls == [
        "lvcreate --quiet --yes --wipesignatures y --size 2048m --name etcd rackbox",
        "mkfs.ext4 -q -m 0 -L etcd /dev/rackbox/etcd",
        "mount /var/lib/etcd",
    ]
    assert "/dev/rackbox/etcd /var/lib/etcd auto noatime 0 2\n" in (guest.root / "etc/fstab").read_text()
    assert (guest.root / "var/lib/etcd").is_dir()


def test_a_second_run_changes_nothing(guest: Guest) -> None:
    (guest.state / "lvs").write_text("  etcd 2048.00\n  var 8192.00\n")
    done = guest.run("etcd:/var/lib/etcd:2048 var:/var:8192")
    assert done.returncode == 0, done.stderr
    assert guest.calls == []


def test_a_volume_of_the_box_grows_with_its_file_system(guest: Guest) -> None:
    done = guest.run("var:/var:8192")
    assert done.returncode == 0, done.stderr
    assert guest.calls == ["lvextend --quiet --resizefs --size 8192m rackbox/var"]


def test_nothing_is_ever_made_smaller(guest: Guest) -> None:
    assert guest.run("var:/var:1024").returncode == 0
    assert guest.calls == []


def test_more_than_the_group_has_is_refused_with_the_figures_and_nothing_is_done(guest: Guest) -> None:
    done = guest.run("etcd:/var/lib/etcd:2048 var:/var:40960")
    assert done.returncode == 1
    assert "no more than the 20000 MiB that group rackbox has left; got 38912 MiB" in done.stderr
    assert "etcd to 2048 MiB (has 0)" in done.stderr
    assert guest.calls == []


def test_a_larger_disk_is_followed_first(guest: Guest) -> None:
    guest.set_disk(120000000)
    assert guest.run("var:/var:4096").returncode == 0
    assert guest.calls == ["growpart /dev/vda 4", "pvresize --quiet /dev/vda4"]


@pytest.mark.parametrize(("volumes", "container"), [("", "1"), ("etcd:/var/lib/etcd:2048", "0")])
def test_where_there_is_nothing_to_do_lvm_is_not_asked(guest: Guest, volumes: str, container: str) -> None:
    (guest.bin / "lvs").write_text("#!/bin/sh\nexit 5\n")
    (guest.bin / "pvs").write_text("#!/bin/sh\nexit 5\n")
    assert guest.run(volumes, CONTAINER=container).returncode == 0


BRICK = "brick:/srv/brick:4096:5120"
MOUNT = "/dev/rackbox_brick/brick /srv/brick auto noatime,inode64 0 2\n"


def test_a_volume_with_a_disk_of_its_own_lies_in_a_thin_pool_there(guest: Guest) -> None:
    (guest.state / "blank").touch()
    (guest.state / "brick_free").write_text("  5116.00\n")
    done = guest.run(BRICK)
    assert done.returncode == 0, done.stderr
    assert guest.calls == [
        "pvcreate --quiet --quiet --dataalignment 1m /dev/vdb",
        "vgcreate --quiet --quiet rackbox_brick /dev/vdb",
        "lvcreate --quiet --yes --size 44m --name pool_meta rackbox_brick",
        "lvcreate --quiet --yes --size 5028m --name pool rackbox_brick",
        "lvconvert --quiet --yes --type thin-pool --chunksize 256k --zero n --poolmetadata rackbox_brick/pool_meta "
        "rackbox_brick/pool",
        "lvcreate --quiet --quiet --yes --type thin --virtualsize 4096m --thinpool rackbox_brick/pool --name brick",
        "mkfs.xfs -q -i size=512 -n size=8192 -d su=256k,sw=1 -L brick /dev/rackbox_brick/brick",
        "mount /srv/brick",
    ]
    assert MOUNT in (guest.root / "etc/fstab").read_text()


def test_a_long_name_is_more_than_xfs_takes_for_a_label(guest: Guest) -> None:
    (guest.state / "blank").touch()
    (guest.state / "brick_free").write_text("  5116.00\n")
    done = guest.run("brick-and-more:/srv/more:4096:5120")
    assert done.returncode == 0, done.stderr
    assert [call for call in guest.calls if call.startswith("mkfs")] == [
        "mkfs.xfs -q -i size=512 -n size=8192 -d su=256k,sw=1 -L brick-and-mo "
        "/dev/rackbox_brick-and-more/brick-and-more"
    ]


def made(guest: Guest) -> None:
    (guest.state / "thin").write_text("  brick Vwi-aotz--\n  pool  twi-aotz--\n")
    (guest.state / "brick_size").write_text("  4096.00\n")
    (guest.state / "brick_free").write_text("  0\n")
    (guest.state / "pv_size").write_text(f"  {5116 * 2048}")


def test_a_thin_volume_that_is_there_is_only_mounted(guest: Guest) -> None:
    """After its machine was made anew, for one: the disk stayed."""
    made(guest)
    done = guest.run(BRICK)
    assert done.returncode == 0, done.stderr
    assert guest.calls == ["mount /srv/brick"]


def test_a_thin_volume_and_its_disk_grow(guest: Guest) -> None:
    made(guest)
    guest.set_disk(8192 * 2048, "vdb")
    (guest.state / "brick_free").write_text("  3072.00\n")
    done = guest.run("brick:/srv/brick:6144:8192")
    assert done.returncode == 0, done.stderr
    assert guest.calls == [
        "pvresize --quiet /dev/vdb",
        "lvextend --quiet --size +3072m rackbox_brick/pool",
        "mount /srv/brick",
        "lvextend --quiet --resizefs --size 6144m rackbox_brick/brick",
        "mount /srv/brick",
    ]


def test_a_disk_with_something_on_it_is_never_taken(guest: Guest) -> None:
    done = guest.run(BRICK)
    assert done.returncode == 1
    assert "a disk of 5120 MiB: must be there, with nothing on it; there is none" in done.stderr
    assert guest.calls == []


def test_a_thin_volume_needs_nothing_of_the_machine_s_group(guest: Guest) -> None:
    made(guest)
    (guest.state / "free").write_text("  0\n")
    assert guest.run(BRICK).returncode == 0

"""What the libvirt provider writes into the Vagrantfile, and what it reads from disks and answers."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from rackbox import libvirtd
from rackbox.box import Box, sha256_of
from rackbox.kvm import Kvm
from rackbox.paths import LabPaths
from rackbox.providers.libvirt import LibvirtProvider
from rackbox.providers.libvirt_disks import backing_file, virtual_mib, volume_name
from rackbox.providers.lxc import LxcProvider
from rackbox.templating import Symbol, VagrantSetting
from rackbox.topology import Network, Node, Topology, Volume
from tests.rendering import shipped

PATHS = LabPaths(Path("/srv/labs/small"), Path("/run/rackbox/small"), Path("/srv/runs/small"))
EMULATED = LibvirtProvider(Kvm(False, "no answer"))
FAST = LibvirtProvider(Kvm(True, "a guest ran"))


def plain(provider: LibvirtProvider, name: str) -> dict[str, object]:
    topology = shipped("small")
    settings = provider.vagrant_settings(topology, topology.node(name), PATHS)
    return {setting.method: setting.args[0] for setting in settings if setting.method.endswith("=")}


def options(name: str, method: str) -> list[VagrantSetting]:
    topology = shipped("small")
    return [s for s in EMULATED.vagrant_settings(topology, topology.node(name), PATHS) if s.method == method]


def test_a_machine_has_the_size_of_the_topology() -> None:
    node = shipped("small").node("master1")
    found = plain(EMULATED, "master1")
    assert (found["cpus="], found["memory="]) == (node.cpus, node.memory_mib)
    assert found["default_prefix="] == ""


def test_where_kvm_is_not_proven_the_cpu_has_a_name() -> None:
    emulated, fast = plain(EMULATED, "lb1"), plain(FAST, "lb1")
    assert (emulated["driver="], emulated["cpu_mode="]) == ("qemu", "custom")
    assert emulated["cpu_model="] not in ("", "max", "host")
    assert (fast["driver="], fast["cpu_mode="]) == ("kvm", "host-passthrough")
    assert "cpu_model=" not in fast
    assert EMULATED.patience > FAST.patience == 1.0
    assert "no answer" in EMULATED.remark
    assert FAST.remark == ""


def test_every_network_card_is_on_its_bridge_and_management_comes_first() -> None:
    topology = shipped("small")
    for node in topology.nodes:
        cards = options(node.name, "vm.network")
        assert [(c.options["libvirt__network_name"], c.options["mac"]) for c in cards] == [
            (nic.network, nic.mac) for nic in node.nics
        ]
        assert cards[0].options["libvirt__network_name"] == "mgmt"
        assert all(card.options["libvirt__dhcp_enabled"] is False for card in cards), "DHCP is the gateway's"
        assert all(len(str(card.options["libvirt__iface_name"])) <= 15 for card in cards)
        assert plain(EMULATED, node.name)["mgmt_attach="] is False


def test_no_two_machines_have_the_same_uuid() -> None:
    names = [node.name for node in shipped("small").nodes]
    assert len({plain(EMULATED, name)["uuid="] for name in names}) == len(names)
    assert plain(EMULATED, "lb1")["uuid="] == plain(FAST, "lb1")["uuid="]


def test_the_seed_is_a_disk_that_vagrant_leaves_where_it_is() -> None:
    (seed,) = options("lb1", "storage")
    assert seed.args == (Symbol("file"),)
    assert seed.ruby.startswith('storage :file, path: "lb1-seed.img", type: "raw", ')
    assert seed.options["allow_existing"] is True


def test_what_a_provider_cannot_do_is_no_part_of_the_topology() -> None:
    """One config, two providers: what is planned is the same object, and what the machines are told comes from it."""
    lxc = {item.name for item in LxcProvider().capabilities}
    assert lxc == {item.name for item in EMULATED.capabilities}, "each answers for each"


def test_volumes_of_the_box_are_no_directories_of_a_container() -> None:
    topology = shipped("small")
    node = replace(topology.node("master1"), volumes=(Volume("var", "/var", 8192, of_box=True),))
    mounts = [s.args[1] for s in LxcProvider().vagrant_settings(topology, node, PATHS) if s.args[0] == "mount.entry"]
    assert len(mounts) == 1, "the seed's"


def qcow2(path: Path, backing: str) -> Path:
    name = backing.encode()
    path.write_bytes(struct.pack(">4sIQI", b"QFI\xfb", 3, 512 if name else 0, len(name)).ljust(512, b"\0") + name)
    return path


def test_what_a_disk_lies_on_is_read_from_its_header(tmp_path: Path) -> None:
    assert backing_file(qcow2(tmp_path / "a.img", "/pool/b.img")) == "/pool/b.img"
    assert backing_file(qcow2(tmp_path / "b.img", "")) == ""
    (tmp_path / "raw.img").write_bytes(b"\0" * 512)
    (tmp_path / "short.img").write_bytes(b"QFI")
    assert [backing_file(tmp_path / name) for name in ("raw.img", "short.img", "none.img")] == ["", "", ""]


def lab(tmp_path: Path) -> LabPaths:
    paths = LabPaths(tmp_path / "data/labs/small", tmp_path / "run", tmp_path / "runs")
    for directory in (libvirtd.images(paths), libvirtd.definitions(paths)):
        directory.mkdir(parents=True)
    return paths


def box(tmp_path: Path, version: str) -> tuple[Box, Path]:
    installed = tmp_path / version
    installed.mkdir()
    (installed / "box.img").write_text(f"the image of {version}")
    (installed / "manifest.json").write_text(json.dumps({"image_sha256": sha256_of(installed / "box.img")}))
    return Box("debian-13", "libvirt", version, installed / "x.box", ""), installed


def test_machines_tell_their_box_by_their_disks(tmp_path: Path) -> None:
    paths = lab(tmp_path)
    for name, version in (("lb1", "20260101.1"), ("lb2", "20260102.1")):
        (libvirtd.definitions(paths) / f"{name}.xml").touch()
        qcow2(
            libvirtd.images(paths) / f"{name}.img", f"/var/lib/libvirt/images/{volume_name(box(tmp_path, version)[0])}"
        )
    assert EMULATED.existing(shipped("small"), paths) == {"lb1", "lb2"}
    assert EMULATED.box_versions(shipped("small"), paths) == {"lb1": "20260101.1", "lb2": "20260102.1"}


def test_a_rebuilt_box_is_really_taken_and_old_ones_go_with_their_last_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vagrant-libvirt keeps what it once uploaded, whatever has become of the box."""
    monkeypatch.setattr(LibvirtProvider, "_refresh", lambda self, topology: None)
    paths, topology = lab(tmp_path), shipped("small")
    pool = libvirtd.images(paths)
    (first, at_first), (second, at_second) = box(tmp_path, "1"), box(tmp_path, "2")
    EMULATED.take_box(topology, first, at_first, paths)
    qcow2(pool / "lb1.img", f"/var/lib/libvirt/images/{volume_name(first)}")
    EMULATED.take_box(topology, second, at_second, paths)
    assert {file.name for file in pool.iterdir()} == {volume_name(first), volume_name(second), "lb1.img"}
    assert (pool / volume_name(second)).samefile(at_second / "box.img"), "linked, not copied"
    (pool / "lb1.img").unlink()
    EMULATED.take_box(topology, second, at_second, paths)
    assert {file.name for file in pool.iterdir()} == {volume_name(second)}


def test_a_box_that_was_installed_again_is_not_the_one_in_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LibvirtProvider, "_refresh", lambda self, topology: None)
    paths, (own, installed) = lab(tmp_path), box(tmp_path, "1")
    EMULATED.take_box(shipped("small"), own, installed, paths)
    (installed / "box.img").unlink()
    (installed / "box.img").write_text("whole again")
    EMULATED.take_box(shipped("small"), own, installed, paths)
    assert (libvirtd.images(paths) / volume_name(own)).read_text() == "whole again"


def test_a_box_is_whole_when_its_image_is(tmp_path: Path) -> None:
    own, installed = box(tmp_path, "1")
    assert EMULATED.is_box_whole(own, installed)
    (installed / "box.img").write_text("cut off")
    assert not EMULATED.is_box_whole(own, installed)
    (installed / "manifest.json").write_text("{}")
    assert not EMULATED.is_box_whole(own, installed)


def test_only_the_management_network_keeps_machines_apart() -> None:
    topology = shipped("small")
    isolated = [network.name for network in topology.networks if "isolated" in libvirtd.network_xml(network)]
    assert isolated == ["mgmt"]
    some: Network = topology.networks[0]
    assert f"<bridge name='{some.name}'/>" in libvirtd.network_xml(some)


def test_libvirt_is_told_the_management_addresses_as_leases() -> None:
    topology = shipped("small")
    leases = {lease["mac-address"]: lease["ip-address"] for lease in json.loads(libvirtd.leases_json(topology))}
    assert leases == {node.management.mac: str(node.management.address.ip) for node in topology.nodes}


def test_no_qemu_no_power(tmp_path: Path) -> None:
    assert EMULATED.running(shipped("small"), lab(tmp_path)) == frozenset()


def with_brick(mib: int = 5120) -> tuple[Topology, Node]:
    topology = shipped("small")
    brick = Volume("brick", "/srv/brick", 4096, disk_mib=mib)
    nodes = tuple(
        replace(n, volumes=(*n.volumes, brick), disk_mib=40960) if n.name == "lb1" else n for n in topology.nodes
    )
    topology = replace(topology, nodes=nodes)
    return topology, topology.node("lb1")


def test_a_volume_s_own_disk_is_attached_and_outlives_its_machine() -> None:
    topology, node = with_brick()
    settings = EMULATED.vagrant_settings(topology, node, PATHS)
    assert [s.args[0] for s in settings if s.method == "machine_virtual_size="] == [40]
    (disk,) = (s.options for s in settings if s.method == "storage" and s.options["device"] == "vdb")
    assert (disk["path"], disk["type"], disk["allow_existing"]) == ("lb1-brick.qcow2", "qcow2", True)


def sized(path: Path, mib: int) -> None:
    path.write_bytes(struct.pack(">4sI16xQ", b"QFI\xfb", 3, mib << 20))


def test_disks_that_are_too_small_grow_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topology, node = with_brick()
    paths = LabPaths(tmp_path, tmp_path / "run", tmp_path / "runs")
    pool = libvirtd.images(paths)
    pool.mkdir(parents=True)
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(LibvirtProvider, "_virsh", lambda _self, _topology, *words, **_: asked.append(words))
    EMULATED.fit_disks(topology, node, paths)
    assert asked == [], "there is none yet"
    sized(pool / "lb1.img", 32768)
    sized(pool / "lb1-brick.qcow2", 5120)
    EMULATED.fit_disks(topology, node, paths)
    assert asked == [("blockresize", "lb1", "vda", "40960MiB")]
    larger, node = with_brick(8192)
    EMULATED.fit_disks(larger, node, paths)
    assert asked[-1] == ("blockresize", "lb1", "vdb", "8192MiB")
    assert virtual_mib(pool / "nothing") == 0

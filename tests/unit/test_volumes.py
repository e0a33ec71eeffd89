"""Volumes only grow, and only into what their group has left: refused with the figures, before anything is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rackbox.config import load_config
from rackbox.errors import EXIT_COULD_NOT_RUN, LabError
from rackbox.layout import load_layout
from rackbox.planner import plan_topology
from rackbox.render import render_env
from rackbox.roles import BOX_DISK_MIB, BOX_VOLUMES
from rackbox.topology import Topology, Volume
from rackbox.volumes import Group, check_change, check_room, group_of, parse_group, parse_wish, plan_growth, refuse
from tests.rendering import shipped

GROUP = Group(free=10000, extent=4, volumes={"root": 1024, "var": 4096, "etcd": 2048})


def with_volumes(*volumes: Volume) -> Topology:
    topology = shipped("small")
    nodes = tuple(replace(node, volumes=volumes) if node.role == "master" else node for node in topology.nodes)
    return replace(topology, nodes=nodes)


def test_what_lvm_prints_is_read() -> None:
    group = parse_group("  22428.00 4.00\n  root 1024.00\n  var  4096.00\n")
    assert group == Group(22428, 4, {"root": 1024, "var": 4096})
    assert [group.round_up(mib) for mib in (1, 4, 5)] == [4, 4, 8]


@pytest.mark.parametrize(("wanted", "more"), [(2048, 0), (2047, 0), (2049, 4), (3072, 1024), (2048 + 10000, 10000)])
def test_growth_is_in_whole_extents(wanted: int, more: int) -> None:
    assert plan_growth("master1", "etcd", wanted, GROUP) == more


@pytest.mark.parametrize(
    ("name", "wanted", "words"),
    [
        ("etcd", 1024, "master1: volume etcd: must be 2G or more, as it is: it cannot shrink; got 1G"),
        ("etcd", 12052, "must be 12048M or less: it has 2G, and group rackbox has 10000M left; got 12052M"),
        ("nope", 4096, "master1: has no volume nope"),
    ],
)
def test_growth_that_is_refused_has_its_figures(name: str, wanted: int, words: str) -> None:
    with pytest.raises(LabError) as info:
        plan_growth("master1", name, wanted, GROUP)
    assert words in info.value.message
    assert info.value.exit_code == EXIT_COULD_NOT_RUN


@pytest.mark.parametrize("text", ["4", "-1G", "x", "", "4 G", "1.0001G"])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(LabError, match=r"^SIZE: must be"):
        parse_wish(text)


def test_a_config_s_change_only_grows() -> None:
    before = with_volumes(Volume("etcd", "/var/lib/etcd", 2048))
    assert check_change(before, with_volumes(Volume("etcd", "/var/lib/etcd", 4096), Volume("x", "/srv/x", 64))) == []
    assert check_change(before, with_volumes()) == [], "what is no longer named stays as it is"
    (shrunk,) = check_change(before, with_volumes(Volume("etcd", "/var/lib/etcd", 1024)))
    assert shrunk == "master1: volume etcd: must be 2G or more, as it is: it cannot shrink; got 1G"
    (moved,) = check_change(before, with_volumes(Volume("etcd", "/srv/etcd", 2048)))
    assert moved == "master1: volume etcd: must stay at /var/lib/etcd; got /srv/etcd"


def test_a_config_s_change_must_find_room() -> None:
    node = with_volumes(Volume("etcd", "/var/lib/etcd", 3072), Volume("data", "/srv/data", 8976)).node("master1")
    assert check_room(node, GROUP) == ""
    node = with_volumes(Volume("etcd", "/var/lib/etcd", 3072), Volume("data", "/srv/data", 9000)).node("master1")
    words = check_room(node, GROUP)
    assert words.endswith("no more than the 10000M that group rackbox has left; got etcd 1G more, data 9000M more")
    grown = replace(GROUP, volumes={**GROUP.volumes, "etcd": 6000})
    small = with_volumes(Volume("etcd", "/var/lib/etcd", 3072)).node("master1")
    assert check_room(small, grown) == "", "grown by hand: stays"


def test_a_disk_that_grows_brings_room() -> None:
    node = with_volumes(Volume("etcd", "/var/lib/etcd", 2048 + 12000)).node("master1")
    assert "no more than the 10000M" in check_room(node, GROUP)
    assert check_room(node, GROUP, coming=2000) == ""
    thin = with_volumes(Volume("brick", "/srv/brick", 90000, disk_mib=5120)).node("master1")
    assert check_room(thin, GROUP) == "", "it lies on a disk of its own"


DISKS = [
    (5120, 6144, []),
    (5120, 4096, ["master1: volume brick: its disk must be 5G or more, as it is: it cannot shrink; got 4G"]),
    (5120, 0, ["master1: volume brick: must keep its disk of its own; got 0M"]),
    (0, 5120, ["master1: volume brick: must stay without a disk of its own; got 5G"]),
]


@pytest.mark.parametrize(("had", "wanted", "problems"), DISKS)
def test_a_volume_s_own_disk_only_grows(had: int, wanted: int, problems: list[str]) -> None:
    before = with_volumes(Volume("brick", "/srv/brick", 4096, disk_mib=had))
    assert check_change(before, with_volumes(Volume("brick", "/srv/brick", 4096, disk_mib=wanted))) == problems


def test_a_disk_comes_with_its_machine() -> None:
    (problem,) = check_change(with_volumes(), with_volumes(Volume("data", "/srv/data", 1024, disk_mib=2048)))
    assert problem.startswith("master1: volume data: must be there when its machine is made")


def test_a_machine_s_disk_only_grows() -> None:
    def with_disk(mib: int) -> Topology:
        topology = shipped("small")
        return replace(topology, nodes=tuple(replace(node, disk_mib=mib) for node in topology.nodes))

    assert check_change(with_disk(0), with_disk(49152)) == []
    assert check_change(with_disk(49152), with_disk(50 * 1024)) == []
    for less, shown in ((40960, "40G"), (0, "32G")):
        problems = check_change(with_disk(49152), with_disk(less))
        assert f"master1: disk: must be 48G or more, as it is: it cannot shrink; got {shown}" in problems


def test_a_brick_has_a_disk_of_its_own_with_room_for_its_pool() -> None:
    node = shipped("default").node("gluster1")
    assert node.own_disks == (Volume("brick", "/srv/brick", 4096, disk_mib=5120),)
    assert group_of(node, "brick") == "rackbox_brick"
    assert group_of(node, "var") == "rackbox"
    assert render_env(shipped("default"), node)["RACKBOX_VOLUMES"] == "brick:/srv/brick:4096:5120"


def test_disks_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    gluster = (
        "  gluster:\n    disk: 48G\n    volumes: {brick: {size: 20G, disk: 10G}, data: {size: 1G, mount: /srv/data}}\n"
    )
    file.write_text(f"name: v\nnodes:\n  gateway:\n{gluster}")
    topology = plan_topology(load_config(file))
    node = topology.node("gluster1")
    assert node.disk_mib == 48 * 1024
    assert [(volume.name, volume.disk_mib) for volume in node.volumes] == [("brick", 10240), ("data", 0)]
    assert render_env(topology, node)["RACKBOX_DISK_MIB"] == "49152"
    assert topology.node("gateway").disk_mib == 0


def test_the_default_disk_is_the_box_s() -> None:
    assert load_layout().disk_mib == BOX_DISK_MIB
    assert {volume.name: volume.mount for volume in load_layout().volumes} == BOX_VOLUMES


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(LabError) as info:
        refuse(["a: x", "b: y"], "lab.yaml")
    assert info.value.message == "lab.yaml: a: x\nlab.yaml: b: y"
    refuse([], "lab.yaml")


def load(tmp_path: Path, volumes: str) -> Topology:
    file = tmp_path / "lab.yaml"
    file.write_text(f"name: v\nnodes:\n  gateway:\n  master:\n    count: 1\n    volumes: {volumes}\n")
    return plan_topology(load_config(file))


def test_a_size_alone_will_do(tmp_path: Path) -> None:
    node = load(tmp_path, "{var: 8G, etcd: 3G}").node("master1")
    assert node.volumes == (
        Volume("etcd", "/var/lib/etcd", 3072),
        Volume("var", "/var", 8192, of_box=True),
    )
    assert load(tmp_path, "{etcd: {size: 3G}}").node("master1").volumes[0].size_mib == 3072


def test_machines_are_told_their_volumes(tmp_path: Path) -> None:
    topology = load(tmp_path, "{var: 8G}")
    assert render_env(topology, topology.node("master1"))["RACKBOX_VOLUMES"] == "etcd:/var/lib/etcd:2048 var:/var:8192"
    assert render_env(topology, topology.node("gateway"))["RACKBOX_VOLUMES"] == ""

"""What the LXC provider writes into the Vagrantfile, and what it puts right in vagrant-lxc's own files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rackbox.box import Box, sha256_of
from rackbox.errors import LabError
from rackbox.paths import LabPaths
from rackbox.providers.lxc import ARCHIVE, TREE, LxcProvider, volume_dir
from rackbox.providers.placed import port_name
from rackbox.render import VagrantTarget
from rackbox.topology import Node, Topology
from tests.rendering import fake_credentials, shipped

LXC = LxcProvider()
PATHS = LabPaths(Path("/srv/labs/small"), Path("/run/rackbox/small"), Path("/srv/runs/small"))
SPACES = LabPaths(Path("/srv/my labs/small"), Path("/run/rackbox/small"), Path("/srv/my labs/runs/small"))


def customized(topology: Topology, node: Node, paths: LabPaths = PATHS) -> list[tuple[object, ...]]:
    return [s.args for s in LXC.vagrant_settings(topology, node, paths) if s.method == "customize"]


def test_a_balancer_s_settings_in_full() -> None:
    topology = shipped("small")
    node = topology.node("lb1")
    mgmt, dmz = node.nics
    lines = [(setting.method, *setting.args) for setting in LXC.vagrant_settings(topology, node, PATHS)]
    script = lines[-2][2]
    assert lines == [
        ("privileged=", False),
        ("backingstore=", "dir"),
        ("container_name=", "lb1"),
        ("tmpfs_mount_size=", ""),
        ("ssh_ip_addr=", str(mgmt.address.ip)),
        ("customize", "cgroup.dir", "rackbox-small/lb1"),
        ("customize", "net.0.type", "veth"),
        ("customize", "net.0.link", "mgmt"),
        ("customize", "net.0.name", "mgmt"),
        ("customize", "net.0.flags", "up"),
        ("customize", "net.0.hwaddr", mgmt.mac),
        ("customize", "net.0.veth.pair", "lb1_0"),
        ("customize", "net.1.type", "veth"),
        ("customize", "net.1.link", "dmz"),
        ("customize", "net.1.name", "dmz"),
        ("customize", "net.1.flags", "up"),
        ("customize", "net.1.hwaddr", dmz.mac),
        ("customize", "net.1.veth.pair", "lb1_1"),
        ("customize", "net.0.script.up", script),
        (
            "customize",
            "mount.entry",
            "/srv/labs/small/rendered/nodes/lb1 var/lib/cloud/seed/nocloud none bind,ro,create=dir 0 0",
        ),
    ]
    assert Path(str(script)).stat().st_mode & 0o111, "LXC runs it itself"


@pytest.mark.parametrize("lab", ["default", "small"])
def test_every_machine_has_its_nics_seed_and_volumes(lab: str) -> None:
    topology = shipped(lab)
    for node in topology.nodes:
        settings = {args[0]: args[1] for args in customized(topology, node)}
        for number, nic in enumerate(node.nics):
            assert settings[f"net.{number}.hwaddr"] == nic.mac
            assert settings[f"net.{number}.link"] == settings[f"net.{number}.name"] == nic.network
        mounts = [str(args[1]).split() for args in customized(topology, node) if args[0] == "mount.entry"]
        assert mounts[0][0] == f"/srv/labs/small/rendered/nodes/{node.name}"
        assert [mount[1] for mount in mounts[1:]] == [volume.mount.lstrip("/") for volume in node.volumes]
        assert [mount[0] for mount in mounts[1:]] == [str(volume_dir(PATHS, node, v.name)) for v in node.volumes]


def test_only_the_management_port_is_isolated() -> None:
    """Machines must not meet on the management network: it would be a way past what a fault has cut."""
    topology = shipped("default")
    for node in topology.nodes:
        assert [args[0] for args in customized(topology, node) if "script" in str(args[0])] == ["net.0.script.up"]
        assert node.nics[0] is node.management


def test_a_space_in_a_path_is_escaped_as_in_fstab() -> None:
    topology = shipped("default")
    for node in topology.nodes:
        for key, value in customized(topology, node, SPACES):
            if key == "mount.entry":
                assert len(str(value).split(" ")) == 6, value
                assert str(value).startswith("/srv/my\\040labs/small/")


def test_a_path_with_spaces_reaches_the_vagrantfile_whole() -> None:
    from rackbox.hooks import load_sources
    from rackbox.render import render_lab

    topology = shipped("small")
    lines = {node.name: LXC.vagrant_settings(topology, node, SPACES) for node in topology.nodes}
    target = VagrantTarget("lxc", "rackbox/debian-13", box_version="1", directory=SPACES.rendered)
    files = render_lab(topology, fake_credentials(topology), lines, load_sources(), target)
    assert "/srv/my\\\\040labs/small/rendered/nodes/lb1" in files["Vagrantfile"].data.decode()


def test_port_names_fit_the_kernel_and_are_unique() -> None:
    """15 characters at most (IFNAMSIZ); longer names fall back to the MAC, which is unique."""
    topology = shipped("default")
    long = replace(topology.node("lb1"), name="load-balancer-of-the-north-1")
    names = [port_name(node, number) for node in (*topology.nodes, long) for number in range(len(node.nics))]
    assert len(names) == len(set(names))
    assert all(len(name) <= 15 for name in names)
    assert port_name(topology.node("gateway"), 5) == "gateway_5"
    assert port_name(long, 1) == "v_" + long.nics[1].mac.replace(":", "")


def machine_config(text: str, tmp_path: Path) -> tuple[LabPaths, Path]:
    paths = LabPaths(tmp_path / "lab", tmp_path / "run", tmp_path / "runs")
    config = paths.machines / "lb1" / "config"
    config.parent.mkdir(parents=True)
    config.write_text(text)
    return paths, config


BLOCK = "# VAGRANT-BEGIN\nlxc.net.0.type=veth\n# VAGRANT-END\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("lxc.arch = linux64\n", "lxc.arch = linux64\n"),
        (f"lxc.arch = linux64\n{BLOCK}", "lxc.arch = linux64\n"),
        (f"lxc.arch = linux64\n{BLOCK}{BLOCK}", "lxc.arch = linux64\n"),
        # What the missing truncation leaves: the end of an older, longer block after the newer one.
        (f"a = 1\n{BLOCK}0.type=veth\n# VAGRANT-END\n", "a = 1\n"),
        (f"a = 1\n{BLOCK}# VAGRANT-BEGIN\nlxc.net.0.ty", "a = 1\n"),
    ],
)
def test_vagrant_s_old_block_is_cut_out_before_a_boot(before: str, after: str, tmp_path: Path) -> None:
    topology = shipped("small")
    paths, config = machine_config(before, tmp_path)
    LXC.before_boot(topology, topology.node("lb1"), paths)
    assert config.read_text() == after
    LXC.before_boot(topology, topology.node("lb1"), paths)
    assert config.read_text() == after


def test_a_machine_that_was_never_made_needs_nothing(tmp_path: Path) -> None:
    paths = LabPaths(tmp_path / "lab", tmp_path / "run", tmp_path / "runs")
    LXC.before_boot(shipped("small"), shipped("small").node("lb1"), paths)
    assert LXC.existing(shipped("small"), paths) == frozenset()
    assert LXC.console_tail(shipped("small").node("lb1"), paths, 5) == []


def installed_box(tmp_path: Path) -> tuple[Box, Path]:
    """A box in the catalogue, and as Vagrant has it installed."""
    kept, installed = tmp_path / "boxes", tmp_path / "installed"
    kept.mkdir()
    installed.mkdir()
    (installed / ARCHIVE).write_bytes(b"a tree")
    (kept / "manifest.json").write_text(json.dumps({"rootfs_sha256": sha256_of(installed / ARCHIVE)}))
    return Box("debian-13", "lxc", "1", kept / "x.box", ""), installed


def test_an_archive_that_nobody_has_unpacked_is_looked_at_in_full(tmp_path: Path) -> None:
    box, installed = installed_box(tmp_path)
    assert LXC.is_box_whole(box, installed)
    (installed / ARCHIVE).write_bytes(b"a trEE")
    assert not LXC.is_box_whole(box, installed), "to be installed again"
    (installed / ARCHIVE).unlink()
    assert not LXC.is_box_whole(box, installed)


def test_a_tree_that_is_damaged_is_not_pulled_away_from_under_machines(tmp_path: Path) -> None:
    box, installed = installed_box(tmp_path)
    for name in TREE:
        (installed / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (installed / "tree" / name).touch()
    (installed / ARCHIVE).unlink()
    assert LXC.is_box_whole(box, installed), "the archive has done its part"
    (installed / "tree" / "sbin/init").unlink()
    with pytest.raises(LabError, match=r"tree: damaged, lacks sbin/init") as info:
        LXC.is_box_whole(box, installed)
    assert f"remove {installed}" in info.value.hint


def test_existing_machines_are_those_with_a_config(tmp_path: Path) -> None:
    paths, config = machine_config("", tmp_path)
    (paths.machines / "lb2").mkdir()
    assert LXC.existing(shipped("small"), paths) == {"lb1"}
    config.with_name("console.log").write_text("one\r\ntwo\r\nthree\r\n")
    assert LXC.console_tail(shipped("small").node("lb1"), paths, 2) == ["two", "three"]
